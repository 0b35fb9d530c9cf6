# One image for every process of a cluster; the command says which.

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang libclang-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
# As in the Makefile: RocksDB is most of a first build, and clang is a third faster with it.
ENV CXX=clang++
WORKDIR /src
COPY . .
ARG TARGETARCH
# The coder's C code and the allocator are compiled for the build machine unless told otherwise; an image must run elsewhere
# too, on arm64 also with pages of 64 KiB.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    case "${TARGETARCH:-amd64}" in \
        amd64) export RUST_REED_SOLOMON_ERASURE_ARCH=x86-64-v2 ;; \
        arm64) export RUST_REED_SOLOMON_ERASURE_ARCH=armv8-a JEMALLOC_SYS_WITH_LG_PAGE=16 ;; \
    esac \
    && cargo build --release --locked --package cairn-tools --bin cairn \
    && strip --strip-debug -o /cairn target/release/cairn

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin cairn \
    && install -d -o cairn -g cairn -m 0700 /data /copy1 /copy2
COPY --from=build /cairn /usr/local/bin/cairn
USER cairn
WORKDIR /data
VOLUME /data
# Inside a container loopback reaches nobody; what is published is decided outside.
ENV CAIRN_LISTEN=0.0.0.0:9000 CAIRN_ENDPOINT=http://127.0.0.1:9000
EXPOSE 9000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=6 CMD ["cairn", "admin", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["cairn"]
CMD ["serve", "--data", "/data"]
