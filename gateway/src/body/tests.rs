//! Bodies end to end: what is sent, in any pieces, against what comes out and what is refused.

use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::auth::{ChunkSigner, PayloadMode};
use crate::checksum::{ChecksumAlgorithm, ChecksumHasher};
use crate::s3_error::{ErrorCode, S3Error};

const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

/// Receives `wire` in pieces of the given sizes (repeated), within a runtime of its own.
fn receive(
    wire: &[u8],
    pieces: &[usize],
    payload: PayloadMode,
    pairs: &[(&'static str, &str)],
) -> Result<(Bytes, DigestSet), S3Error> {
    let plan = BodyPlan::of_request(&headers(pairs), payload, BODY_SIZE_BYTES_MAX)?;
    let mut frames = Vec::new();
    let mut rest = Bytes::copy_from_slice(wire);
    let mut sizes = pieces.iter().copied().cycle();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        frames.push(Ok::<_, Infallible>(Frame::data(rest.split_to(size))));
    }
    let body = StreamBody::new(stream::iter(frames));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut body = plan.open(body, BodyOptions::default());
        let mut content = Vec::new();
        while let Some(piece) = body.next().await {
            content.extend_from_slice(&piece?);
        }
        Ok((content.into(), body.finish().await?))
    })
}

fn code(result: Result<(Bytes, DigestSet), S3Error>) -> ErrorCode {
    result.unwrap_err().code()
}

fn streaming(trailer: bool) -> PayloadMode {
    PayloadMode::Streaming {
        signer: ChunkSigner::example(SEED),
        trailer,
    }
}

/// Frames content as a signing client does.
fn sign_chunks(content: &[u8], chunk_size: usize, trailer: Option<(&str, &str)>) -> Vec<u8> {
    let mut signer = ChunkSigner::example(SEED);
    let mut wire = Vec::new();
    for chunk in content.chunks(chunk_size).chain(std::iter::once(&[][..])) {
        wire.extend(
            format!(
                "{:x};chunk-signature={}\r\n",
                chunk.len(),
                signer.sign_chunk(chunk)
            )
            .bytes(),
        );
        if !chunk.is_empty() {
            wire.extend_from_slice(chunk);
            wire.extend(b"\r\n");
        }
    }
    if let Some((name, value)) = trailer {
        let signature = signer.sign_trailer(format!("{name}:{value}\n").as_bytes());
        wire.extend(format!("{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n").bytes());
    }
    wire.extend(b"\r\n");
    wire
}

fn frame_unsigned(content: &[u8], chunk_size: usize, trailer: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in content.chunks(chunk_size) {
        wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
        wire.extend_from_slice(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(format!("0\r\n{trailer}\r\n").bytes());
    wire
}

/// Bytes that differ everywhere, cheaply.
fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|index| u8::try_from(index * 31 % 251).unwrap())
        .collect()
}

fn crc32(content: &[u8]) -> String {
    ChecksumHasher::of(ChecksumAlgorithm::Crc32, content).to_base64()
}

#[test]
fn a_plain_body_comes_through_with_its_digests() {
    let (body, digests) = receive(
        b"hello",
        &[2],
        PayloadMode::Unsigned,
        &[("content-length", "5")],
    )
    .unwrap();
    assert_eq!(body, "hello");
    assert_eq!(digests.size_bytes, 5);
    assert_eq!(hex::encode(digests.md5), "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(
        digests.checksum,
        ChecksumHasher::of(ChecksumAlgorithm::Crc64Nvme, b"hello")
    );
    assert!(!digests.checksum_was_declared);
    assert_eq!(digests.sha256, None);
}

#[test]
fn large_bodies_are_hashed_in_batches_with_the_same_result() {
    let content = content(3_000_001);
    let length = content.len().to_string();
    let sha256: [u8; 32] = Sha256::digest(&content).into();
    let sha1 = ChecksumHasher::of(ChecksumAlgorithm::Sha1, &content);
    let sha1_text = sha1.to_base64();
    let crc64 = ChecksumHasher::of(ChecksumAlgorithm::Crc64Nvme, &content);
    let cases = [
        (PayloadMode::Unsigned, None, crc64, None),
        (PayloadMode::Signed(sha256), None, crc64, Some(sha256)),
        (PayloadMode::Unsigned, Some(&sha1_text), sha1, None),
    ];
    for (payload, declared, checksum, sha256) in cases {
        let mut pairs = vec![("content-length", length.as_str())];
        pairs.extend(declared.map(|value| ("x-amz-checksum-sha1", value.as_str())));
        let (body, digests) = receive(&content, &[70_000, 1], payload, &pairs).unwrap();
        assert_eq!(body, content);
        assert_eq!(digests.size_bytes, 3_000_001);
        assert_eq!(digests.md5, <[u8; 16]>::from(md5::Md5::digest(&content)));
        assert_eq!(digests.checksum, checksum);
        assert_eq!(digests.sha256, sha256);
    }
}

#[test]
fn too_little_is_incomplete() {
    assert_eq!(
        code(receive(
            b"hell",
            &[],
            PayloadMode::Unsigned,
            &[("content-length", "5")]
        )),
        ErrorCode::IncompleteBody
    );
    assert_eq!(
        code(receive(
            b"hello!",
            &[],
            PayloadMode::Unsigned,
            &[("content-length", "5")]
        )),
        ErrorCode::IncompleteBody
    );
}

#[test]
fn declared_digests_are_verified() {
    let length = ("content-length", "5");
    let md5 = STANDARD.encode(md5::Md5::digest(b"hello"));
    receive(
        b"hello",
        &[],
        PayloadMode::Unsigned,
        &[length, ("content-md5", &md5)],
    )
    .unwrap();
    let error = receive(
        b"hellO",
        &[],
        PayloadMode::Unsigned,
        &[length, ("content-md5", &md5)],
    )
    .unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadDigest);
    assert_eq!(error.extra("ExpectedDigest"), Some(md5.as_str()));

    let sha256: [u8; 32] = Sha256::digest(b"hello").into();
    receive(b"hello", &[], PayloadMode::Signed(sha256), &[length]).unwrap();
    let error = receive(b"hellO", &[], PayloadMode::Signed(sha256), &[length]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::XAmzContentSHA256Mismatch);
    assert_eq!(
        error.extra("ClientComputedContentSHA256"),
        Some(hex::encode(sha256).as_str())
    );

    for algorithm in ChecksumAlgorithm::ALL {
        let value = ChecksumHasher::of(algorithm, b"hello").to_base64();
        let declared = [length, (algorithm.header(), value.as_str())];
        let (_, digests) = receive(b"hello", &[], PayloadMode::Unsigned, &declared).unwrap();
        assert_eq!(digests.checksum.to_base64(), value);
        assert!(digests.checksum_was_declared);
        assert_eq!(
            code(receive(b"hellO", &[], PayloadMode::Unsigned, &declared)),
            ErrorCode::BadDigest
        );
    }
}

#[test]
fn a_sha256_checksum_serves_as_the_payload_hash_too() {
    let sha256: [u8; 32] = Sha256::digest(b"hello").into();
    let declared = [
        ("content-length", "5"),
        ("x-amz-checksum-algorithm", "SHA256"),
    ];
    assert_eq!(
        code(receive(
            b"hellO",
            &[],
            PayloadMode::Signed(sha256),
            &declared
        )),
        ErrorCode::XAmzContentSHA256Mismatch
    );
    let (_, digests) = receive(b"hello", &[], PayloadMode::Signed(sha256), &declared).unwrap();
    assert_eq!(digests.checksum.as_bytes(), sha256);
}

#[test]
fn signed_chunks_are_verified() {
    let content = content(20_000);
    let wire = sign_chunks(&content, 8192, None);
    let length = [("x-amz-decoded-content-length", "20000")];
    let (body, _) = receive(&wire, &[], streaming(false), &length).unwrap();
    assert_eq!(body, content);

    // A byte of content changed, in each chunk.
    for offset in [200, 8500, 17_000] {
        let mut changed = wire.clone();
        changed[offset] ^= 1;
        assert_eq!(
            code(receive(&changed, &[], streaming(false), &length)),
            ErrorCode::SignatureDoesNotMatch,
            "{offset}"
        );
    }
    // Chunks left out at the end, even at a border, are missed.
    let first = wire
        .windows(2)
        .skip(8192)
        .position(|end| end == b"\r\n")
        .unwrap()
        + 8192
        + 2;
    assert_eq!(
        code(receive(&wire[..first], &[], streaming(false), &length)),
        ErrorCode::IncompleteBody
    );
}

#[test]
fn a_chunk_without_signature_is_refused_in_a_signed_body() {
    let wire = b"5\r\nhello\r\n0\r\n\r\n";
    let length = [("x-amz-decoded-content-length", "5")];
    assert_eq!(
        code(receive(wire, &[], streaming(false), &length)),
        ErrorCode::IncompleteBody
    );
}

#[test]
fn the_last_chunks_signature_counts() {
    let mut wire = sign_chunks(b"hello", 8192, None);
    let last = wire.len() - 6;
    wire[last] = if wire[last] == b'0' { b'1' } else { b'0' };
    let length = [("x-amz-decoded-content-length", "5")];
    assert_eq!(
        code(receive(&wire, &[], streaming(false), &length)),
        ErrorCode::SignatureDoesNotMatch
    );
}

#[test]
fn a_signed_trailer_is_verified() {
    let crc = crc32(b"hello");
    let wire = sign_chunks(b"hello", 8192, Some(("x-amz-checksum-crc32", &crc)));
    let announced = [
        ("x-amz-decoded-content-length", "5"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let (body, digests) = receive(&wire, &[], streaming(true), &announced).unwrap();
    assert_eq!(
        (body.as_ref(), digests.checksum.to_base64()),
        (&b"hello"[..], crc.clone())
    );

    let text = String::from_utf8(wire).unwrap();
    let forged = text.replace(&crc, &crc32(b"other"));
    assert_eq!(
        code(receive(forged.as_bytes(), &[], streaming(true), &announced)),
        ErrorCode::SignatureDoesNotMatch
    );
    let unsigned = text.replace("x-amz-trailer-signature", "x-amz-other");
    assert_eq!(
        code(receive(
            unsigned.as_bytes(),
            &[],
            streaming(true),
            &announced
        )),
        ErrorCode::MalformedTrailerError
    );
    // The form of Amazon's own example: a line feed and an empty line before the signature.
    let amazons = text.replace(
        "\r\nx-amz-trailer-signature",
        "\n\r\nx-amz-trailer-signature",
    );
    receive(amazons.as_bytes(), &[], streaming(true), &announced).unwrap();
}

#[test]
fn an_unsigned_trailer_is_verified() {
    let mode = || PayloadMode::StreamingUnsignedTrailer;
    let announced = [
        ("x-amz-decoded-content-length", "5"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ];
    let with = |trailer: &str| {
        receive(
            &frame_unsigned(b"hello", 8192, trailer),
            &[],
            mode(),
            &announced,
        )
    };
    let crc = crc32(b"hello");
    with(&format!("x-amz-checksum-crc32:{crc}\r\n")).unwrap();
    with(&format!("X-Amz-Checksum-Crc32: {crc}\n")).unwrap();
    assert_eq!(
        code(with(&format!("x-amz-checksum-crc32:{}\r\n", crc32(b"x")))),
        ErrorCode::BadDigest
    );
    assert_eq!(
        code(with("x-amz-checksum-crc32:!\r\n")),
        ErrorCode::InvalidRequest
    );
    assert_eq!(code(with("")), ErrorCode::MalformedTrailerError);
    assert_eq!(
        code(with("x-amz-checksum-sha1:AAAA\r\n")),
        ErrorCode::MalformedTrailerError
    );
    assert_eq!(code(with("no colon\r\n")), ErrorCode::MalformedTrailerError);
    let twice = format!("x-amz-checksum-crc32:{crc}\r\nx-amz-checksum-crc32:{crc}\r\n");
    assert_eq!(code(with(&twice)), ErrorCode::MalformedTrailerError);
    let long = format!(
        "x-amz-checksum-crc32:{crc}\r\n{}",
        format!("x:{}\r\n", "y".repeat(900)).repeat(5)
    );
    assert_eq!(code(with(&long)), ErrorCode::MalformedTrailerError);
    // Nothing announced, nothing sent.
    let none = [("x-amz-decoded-content-length", "5")];
    receive(&frame_unsigned(b"hello", 8192, ""), &[], mode(), &none).unwrap();
    let surprise = frame_unsigned(b"hello", 8192, &format!("x-amz-checksum-crc32:{crc}\r\n"));
    assert_eq!(
        code(receive(&surprise, &[], mode(), &none)),
        ErrorCode::MalformedTrailerError
    );
}

#[test]
fn small_chunks_may_only_be_last() {
    let content = content(8192 + 8191);
    let length = [("x-amz-decoded-content-length", "16383")];
    let mode = || PayloadMode::StreamingUnsignedTrailer;
    receive(&frame_unsigned(&content, 8192, ""), &[], mode(), &length).unwrap();
    let error = receive(&frame_unsigned(&content, 8191, ""), &[], mode(), &length).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidChunkSizeError);
    assert_eq!(
        (error.extra("Chunk"), error.extra("BadChunkSize")),
        (Some("1"), Some("8191"))
    );
}

#[test]
fn broken_framing_is_refused() {
    let length = [("x-amz-decoded-content-length", "5")];
    for wire in [
        "",
        "5",
        "5\r\nhell",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "6\r\nhello!\r\n0\r\n\r\n",
        "4\r\nhell\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "ffffffffffffffff\r\nhello",
        "5\r\nhello\r\n0\r\n\r\nmore\r\n",
        "5\r\nhello\r\n0\r\n\r\n\r\n\r\n",
        &format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(2000)),
    ] {
        let result = receive(
            wire.as_bytes(),
            &[],
            PayloadMode::StreamingUnsignedTrailer,
            &length,
        );
        assert_eq!(code(result), ErrorCode::IncompleteBody, "{wire}");
    }
}

#[test]
fn the_line_end_after_the_last_chunk_is_optional() {
    let length = [("x-amz-decoded-content-length", "5")];
    for wire in ["5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n"] {
        receive(
            wire.as_bytes(),
            &[],
            PayloadMode::StreamingUnsignedTrailer,
            &length,
        )
        .unwrap();
    }
}

#[test]
fn a_failed_stream_stays_failed() {
    let plan = BodyPlan::of_request(
        &headers(&[("content-length", "5")]),
        PayloadMode::Unsigned,
        5,
    )
    .unwrap();
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"he"))),
        Err("connection reset"),
    ];
    let mut body = plan.open(
        StreamBody::new(stream::iter(frames)),
        BodyOptions::default(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        assert_eq!(body.next().await.unwrap().unwrap(), "he");
        assert_eq!(
            body.next().await.unwrap().unwrap_err().code(),
            ErrorCode::IncompleteBody
        );
        assert_eq!(
            body.finish().await.unwrap_err().code(),
            ErrorCode::IncompleteBody
        );
    });
}

#[test]
fn a_client_that_stops_sending_is_timed_out() {
    let plan = BodyPlan::of_request(
        &headers(&[("content-length", "5")]),
        PayloadMode::Unsigned,
        5,
    )
    .unwrap();
    let frames = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"he")))])
        .chain(stream::pending());
    let options = BodyOptions {
        idle_timeout: Duration::from_millis(10),
        ..BodyOptions::default()
    };
    let mut body = plan.open(StreamBody::new(frames), options);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        assert_eq!(body.next().await.unwrap().unwrap(), "he");
        let error = body.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), ErrorCode::RequestTimeout);
        assert!(error.must_close());
    });
}

/// Sends `count` frames of `size` bytes with short pauses, to a receiver that judges the rate every 20 ms.
fn receive_slowly(size: usize, count: usize) -> Result<DigestSet, S3Error> {
    let length = (size * count).to_string();
    let plan = BodyPlan::of_request(
        &headers(&[("content-length", &length)]),
        PayloadMode::Unsigned,
        BODY_SIZE_BYTES_MAX,
    )?;
    let frames = stream::iter(0..count).then(move |_| async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from(vec![1; size])))
    });
    let options = BodyOptions {
        rate_window: Duration::from_millis(20),
        ..BodyOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let body = plan.open(StreamBody::new(Box::pin(frames)), options);
        body.finish().await
    })
}

/// A byte now and then is not nothing, and keeps a place as well.
#[test]
fn a_client_that_sends_far_too_slowly_is_timed_out() {
    let error = receive_slowly(1, 100).unwrap_err();
    assert_eq!(error.code(), ErrorCode::RequestTimeout);
    assert_eq!(receive_slowly(100_000, 20).unwrap().size_bytes, 2_000_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// How the network cuts the bytes never matters.
    #[test]
    fn any_split_gives_the_same_content(
        size in 0usize..40_000,
        chunk_size in 8192usize..20_000,
        pieces in proptest::collection::vec(1usize..9000, 1..8),
        is_signed in any::<bool>(),
    ) {
        let content = content(size);
        let crc = crc32(&content);
        let length = size.to_string();
        let announced = [("x-amz-decoded-content-length", length.as_str()), ("x-amz-trailer", "x-amz-checksum-crc32")];
        let (wire, mode) = if is_signed {
            (sign_chunks(&content, chunk_size, Some(("x-amz-checksum-crc32", &crc))), streaming(true))
        } else {
            let trailer = format!("x-amz-checksum-crc32:{crc}\r\n");
            (frame_unsigned(&content, chunk_size, &trailer), PayloadMode::StreamingUnsignedTrailer)
        };
        let (body, digests) = receive(&wire, &pieces, mode, &announced).unwrap();
        prop_assert_eq!(&body[..], &content[..]);
        prop_assert_eq!(digests.checksum.to_base64(), crc);
    }

    /// Cutting a body anywhere but in its optional last line end is noticed.
    #[test]
    fn any_truncation_is_noticed(size in 1usize..20_000, cut in 0.0f64..1.0) {
        let content = content(size);
        let wire = sign_chunks(&content, 8192, None);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a small number")]
        let kept = ((wire.len() - 4) as f64 * cut) as usize;
        let length = size.to_string();
        let result = receive(&wire[..kept], &[1000], streaming(false), &[("x-amz-decoded-content-length", &length)]);
        prop_assert!(result.is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        wire in "([0-9a-f]{1,3}|;chunk-signature=|\r\n|\n|:|x-amz-checksum-crc32|[a-z]){0,60}",
        is_signed in any::<bool>(),
        size in 1usize..10,
    ) {
        let mode = if is_signed { streaming(true) } else { PayloadMode::StreamingUnsignedTrailer };
        drop(receive(wire.as_bytes(), &[size], mode, &[("x-amz-decoded-content-length", "20")]));
    }
}

/// Most bytes that waited to be hashed while a body of 1 MiB came, in pieces of 16 KiB with a pause before each.
async fn unhashed_bytes_max(batch_age_max: Duration) -> usize {
    let content = content(1 << 20);
    let pieces: Vec<_> = content
        .chunks(16 << 10)
        .map(Bytes::copy_from_slice)
        .collect();
    let frames = stream::iter(pieces).then(|piece| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Frame::data(piece))
    });
    let length = content.len().to_string();
    let headers = headers(&[("content-length", &length)]);
    let plan = BodyPlan::of_request(&headers, PayloadMode::Unsigned, BODY_SIZE_BYTES_MAX).unwrap();
    let mut body = plan.open(StreamBody::new(Box::pin(frames)), BodyOptions::default());
    body.digests.batch_age_max = batch_age_max;
    let mut unhashed_bytes_max = 0;
    while let Some(piece) = body.next().await {
        piece.unwrap();
        unhashed_bytes_max = unhashed_bytes_max.max(body.digests.batch_size);
        poll_fn(|cx| body.digests.poll_idle(cx)).await.unwrap();
    }
    let digests = body.finish().await.unwrap();
    assert_eq!(digests.md5, <[u8; 16]>::from(md5::Md5::digest(&content)));
    unhashed_bytes_max
}

#[tokio::test]
async fn a_slow_client_fills_no_batch_and_a_fast_one_every() {
    // For a slow one every batch is old.
    assert_eq!(unhashed_bytes_max(Duration::ZERO).await, 64 << 10);
    assert_eq!(unhashed_bytes_max(Duration::MAX).await, 496 << 10);
}
