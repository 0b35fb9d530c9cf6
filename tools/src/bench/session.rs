//! A whole run: make the bucket, sweep, clean up, report.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cairn_rpc::random::random_bytes;
use http::Method;
use tokio::task::JoinSet;

use super::args::S3Args;
use super::keyspace_size;
use super::measurement::{Tally, float};
use super::operation::{Keyspace, Operation};
use super::payload::Payloads;
use super::plot;
use super::progress::{INTERVAL, Progress};
use super::report::{self, Row, ServerCost, Subject};
use super::server_process::ServerProcess;
use super::worker::{self, Shared};
use crate::command::CommandError;
use crate::s3_client::{ClientError, Connection, Destination, KeyPair, Request, Signer};
use crate::standard_output;

/// Connections that delete what is left at the end.
const CLEANUP_CONCURRENCY: usize = 16;

/// A number of workers beyond which a run is a mistake: each has a connection.
const CONCURRENCY_MAX: usize = 10_000;

#[derive(Debug)]
struct Session {
    args: S3Args,
    destination: Destination,
    signer: Signer,
    bucket: String,
    payloads: Payloads,
    server: Option<ServerProcess>,
    progress: Progress,
}

/// Objects of one size: those from `next_delete` to `next_put` exist.
#[derive(Debug)]
struct Sweep {
    keyspace: Keyspace,
    size_bytes: u64,
    next_put: Arc<AtomicU64>,
    next_delete: Arc<AtomicU64>,
}

pub(super) async fn run(args: S3Args) -> Result<(), CommandError> {
    let session = Session::new(args)?;
    session.make_bucket().await?;
    let mut rows = Vec::new();
    let ended = session.measure_all(&mut rows).await;
    session.progress.clear();
    // What was measured is told, however the rest went.
    session.report(&rows)?;
    ended
}

impl Session {
    fn new(args: S3Args) -> Result<Self, CommandError> {
        let destination = Destination::new(&args.endpoint, args.ca_file.as_deref())?;
        let credential = |given: &Option<String>, variable: &str, flag: &str| {
            let set = || {
                std::env::var(variable)
                    .ok()
                    .filter(|value| !value.is_empty())
            };
            given.clone().or_else(set).ok_or_else(|| {
                CommandError::usage(format!("give {flag} or set {variable} (Cairn prints the root credentials at its first start)"))
            })
        };
        let keys = KeyPair {
            access_key: credential(&args.access_key, "AWS_ACCESS_KEY_ID", "--access-key")?,
            secret_key: crate::config::Secret::new(credential(
                &args.secret_key,
                "AWS_SECRET_ACCESS_KEY",
                "--secret-key",
            )?),
        };
        if args
            .concurrency
            .iter()
            .any(|concurrency| !(1..=CONCURRENCY_MAX).contains(concurrency))
        {
            return Err(CommandError::usage(format!(
                "--concurrency takes numbers from 1 to {CONCURRENCY_MAX}"
            )));
        }
        let bucket = match &args.bucket {
            Some(bucket) => bucket.clone(),
            None => format!("cairn-bench-{}", hex::encode(random_bytes::<6>())),
        };
        let server = args
            .server_pid
            .map(ServerProcess::find)
            .transpose()
            .map_err(CommandError::usage)?;
        Ok(Self {
            signer: Signer::new(keys, args.region.clone()),
            payloads: Payloads::new(args.seed),
            progress: Progress::new(),
            args,
            destination,
            bucket,
            server,
        })
    }

    fn connection(&self) -> Connection {
        Connection::new(self.destination.clone(), self.signer.clone())
    }

    async fn make_bucket(&self) -> Result<(), CommandError> {
        match self
            .connection()
            .call(Request::new(Method::PUT, format!("/{}", self.bucket)))
            .await
        {
            Ok(_) => Ok(()),
            Err(ClientError::Refused {
                code: Some(code), ..
            }) if code == "BucketAlreadyOwnedByYou" => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Measures all that was asked for, and cleans up behind it.
    async fn measure_all(&self, rows: &mut Vec<Row>) -> Result<(), CommandError> {
        for size in &self.args.size {
            let sweep = self.sweep(size.0).await?;
            for operation in &self.args.operations {
                for concurrency in &self.args.concurrency {
                    rows.push(self.measure(&sweep, *operation, *concurrency).await?);
                }
            }
            if !self.args.keep {
                self.delete_rest(&sweep).await?;
            }
        }
        if self.args.bucket.is_none() && !self.args.keep {
            self.connection()
                .call(Request::new(Method::DELETE, format!("/{}", self.bucket)))
                .await?;
        }
        Ok(())
    }

    /// Objects of an earlier run are used where this one puts none.
    async fn sweep(&self, size_bytes: u64) -> Result<Sweep, CommandError> {
        let prefix = format!("bench/{size_bytes}/");
        let keyspace = Keyspace {
            bucket: self.bucket.clone(),
            prefix,
        };
        let existing = match self.args.bucket {
            Some(_) => keyspace_size::count(&mut self.connection(), &keyspace).await?,
            None => 0,
        };
        Ok(Sweep {
            keyspace,
            size_bytes,
            next_put: Arc::new(AtomicU64::new(existing)),
            next_delete: Arc::default(),
        })
    }

    async fn measure(
        &self,
        sweep: &Sweep,
        operation: Operation,
        concurrency: usize,
    ) -> Result<Row, CommandError> {
        let subject = Subject {
            operation,
            size_bytes: sweep.size_bytes,
            concurrency,
        };
        // Deleting to warm up would use up the objects.
        let warm_up = if operation == Operation::Delete {
            Duration::ZERO
        } else {
            self.args.warm_up
        };
        let warm_until = Instant::now() + warm_up;
        let limit = if self.args.count.is_some() {
            Duration::from_hours(24)
        } else {
            self.args.duration
        };
        let shared = Arc::new(Shared {
            operation,
            keyspace: sweep.keyspace.clone(),
            payloads: self.payloads.clone(),
            size_bytes: sweep.size_bytes,
            verify: self.args.verify,
            next_put: Arc::clone(&sweep.next_put),
            next_delete: Arc::clone(&sweep.next_delete),
            budget: self.args.count.map(AtomicU64::new),
            warm_until,
            until: warm_until + limit,
            measuring_count: AtomicUsize::new(concurrency),
            done: AtomicU64::new(0),
        });
        let mut workers = JoinSet::new();
        for worker in 0..concurrency as u64 {
            workers.spawn(worker::run(Arc::clone(&shared), self.connection(), worker));
        }
        let (mut tally, cost) = self.watch(&shared, workers).await?;
        if tally.is_empty() {
            tally.failure("nothing was measured: there are no objects left");
        }
        if operation == Operation::Delete && tally.error_count > 0 {
            // Nobody knows which are still there; to delete what is not there is no error.
            sweep.next_delete.store(0, Ordering::Relaxed);
        }
        // Nothing was bought with what was spent on failures alone.
        let cost = cost.filter(|_| tally.request_count > 0);
        let row = Row::new(subject, &tally, cost.map(|cost| cost.of(&tally)));
        let size = crate::config::ByteSize(sweep.size_bytes);
        self.progress.finished(format!(
            "{} {size} × {concurrency}: {}",
            operation.name(),
            row.summary()
        ));
        Ok(row)
    }

    /// Waits for the workers, with an eye on the server.
    async fn watch(
        &self,
        shared: &Shared,
        mut workers: JoinSet<Tally>,
    ) -> Result<(Tally, Option<Cost>), CommandError> {
        let mut tally = Tally::default();
        let mut cpu_before: Option<CpuReading> = None;
        let mut cpus = None;
        let mut resident_bytes_max = 0;
        let mut ticks = tokio::time::interval(INTERVAL);
        let operation = shared.operation.name();
        loop {
            tokio::select! {
                finished = workers.join_next() => match finished {
                    Some(Ok(part)) => {
                        tally.merge(part);
                        // From now on fewer are at work.
                        cpus = cpus.or_else(|| Some(cpu_before?.until_now(self.server?)));
                    }
                    Some(Err(error)) => return Err(CommandError::failed(format!("a worker failed: {error}"))),
                    None => break,
                },
                _ = ticks.tick() => {
                    self.progress.say(format!("{operation} {}: {} requests", shared.keyspace.prefix, shared.done.load(Ordering::Relaxed)));
                    if let Some(server) = self.server {
                        resident_bytes_max = resident_bytes_max.max(server.resident_bytes().unwrap_or(0));
                        if cpu_before.is_none() && Instant::now() >= shared.warm_until {
                            cpu_before = Some(CpuReading::now(server));
                        }
                    }
                }
            }
        }
        let cost = cpus.map(|cpus| Cost {
            cpus,
            resident_bytes_max,
        });
        Ok((tally, cost))
    }

    async fn delete_rest(&self, sweep: &Sweep) -> Result<(), CommandError> {
        self.progress.say("deleting what is left");
        let mut workers = JoinSet::new();
        for _ in 0..CLEANUP_CONCURRENCY {
            let (mut connection, keyspace) = (self.connection(), sweep.keyspace.clone());
            let (next_put, next_delete) =
                (Arc::clone(&sweep.next_put), Arc::clone(&sweep.next_delete));
            workers.spawn(async move {
                loop {
                    let object = next_delete.fetch_add(1, Ordering::Relaxed);
                    if object >= next_put.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    connection.call(keyspace.delete(object)).await?;
                }
            });
        }
        let results: Vec<Result<(), ClientError>> = workers.join_all().await;
        results
            .into_iter()
            .collect::<Result<(), _>>()
            .map_err(CommandError::from)
    }

    fn report(&self, rows: &[Row]) -> Result<(), CommandError> {
        let json = serde_json::json!({ "endpoint": self.destination.endpoint().to_string(), "threads": self.args.threads, "seed": self.args.seed, "measurements": rows });
        if let Some(path) = &self.args.json_file {
            let written = std::fs::File::create(path)
                .and_then(|file| serde_json::to_writer_pretty(file, &json).map_err(Into::into));
            written.map_err(|error| unwritable(path, &error))?;
        }
        if let Some(path) = &self.args.plot
            && let Some(svg) = plot::svg(rows).map_err(CommandError::failed)?
        {
            let written = std::fs::File::create(path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, svg.as_bytes()));
            written.map_err(|error| unwritable(path, &error))?;
        }
        if self.args.json {
            standard_output::print(&format!("{json:#}"))?;
        } else {
            standard_output::print(&report::table(rows).to_string())?;
        }
        let error_count: u64 = rows.iter().map(Row::error_count).sum();
        match rows.iter().find(|row| row.error_count() > 0) {
            Some(row) => Err(CommandError::failed(format!(
                "{error_count} requests failed: {}",
                row.summary()
            ))),
            None => Ok(()),
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::failed(format!("{}: {error}", path.display()))
}

/// What the server had used of its processors at an instant.
#[derive(Debug, Clone, Copy)]
struct CpuReading {
    at: Instant,
    cpu_time: Duration,
}

impl CpuReading {
    fn now(server: ServerProcess) -> Self {
        Self {
            at: Instant::now(),
            cpu_time: server.cpu_time().unwrap_or_default(),
        }
    }

    /// How many processors it has kept busy since.
    fn until_now(self, server: ServerProcess) -> f64 {
        let now = Self::now(server);
        let used = now.cpu_time.saturating_sub(self.cpu_time);
        used.as_secs_f64() / (now.at - self.at).as_secs_f64().max(1e-9)
    }
}

/// What the server used while all workers were at work.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Processors that were busy, on average.
    cpus: f64,
    resident_bytes_max: u64,
}

impl Cost {
    /// What these requests took of it, at the rate that they were answered at.
    fn of(self, tally: &Tally) -> ServerCost {
        let cpu_seconds_each = self.cpus / tally.requests_per_second.max(1e-9);
        ServerCost {
            cpu_seconds: cpu_seconds_each * float(tally.request_count),
            cpu_seconds_per_1000: cpu_seconds_each * 1000.0,
            resident_bytes_max: self.resident_bytes_max,
        }
    }
}
