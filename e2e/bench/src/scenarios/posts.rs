//! Posts through the models: Switchyard against Python's ONNX Runtime with the same model folder,
//! and the whole pipeline against the models alone.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use switchyard_ai::{Engine, engine::Batching, model::Provider};
use tokio::time::{Instant, sleep};

use super::{backlog::fill, settings::Settings};
use crate::{
    fixture::Fixture,
    process::{Process, memory_mib, run as run_program},
    progress::log_progress,
    report::{Better, Comparison, Report, figure},
    systems::switchyard::{self, Api, Keys, Mounted},
};

/// Posts per AI job.
pub const POSTS_PER_CHUNK: usize = 5;
/// Posts per profile.
pub const POSTS_PER_PROFILE: usize = 100;
/// Posts in an hour at 10/s, the lowest rate that one core must reach.
const HOUR_OF_POSTS: u64 = 36_000;
/// Upper bound of the pipeline's posts per second on two cores.
const POSTS_A_SECOND: u64 = 250;
const PIPELINE: &str = "bench_posts";

/// Arguments of `switchyard-bench posts`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Options {
    #[arg(long)]
    model: PathBuf,
    /// File with one JSON object with a `text` per line; read in a loop.
    #[arg(long)]
    texts: PathBuf,
    #[arg(long)]
    threads: usize,
    /// Seconds to count, after a warm-up of one second.
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Lowest number of posts to analyse, however long that takes.
    #[arg(long, default_value_t = 0)]
    posts: u64,
}

/// The result of a run, printed as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Ran {
    per_second: f64,
    posts: u64,
    /// PSS in MiB, after a tenth of the posts and at the end.
    memory: (f64, f64),
}

/// Reads the texts of a file of labelled posts.
pub fn texts(path: &Path) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    text.lines().map(|line| Ok(serde_json::from_str::<Line>(line)?.text)).collect()
}

/// Measures the scenario and adds its comparisons to `report`.
pub async fn measure(fixture: &Fixture, keys: &Keys, settings: Settings, report: &mut Report) -> anyhow::Result<()> {
    let (mut alone, mut through) = ([Vec::new(), Vec::new()], Vec::new());
    let peers = [(1, 5), (1, 32), (2, 5), (2, 32)];
    let mut theirs: [Vec<f64>; 4] = Default::default();
    let mut float = Vec::new();
    for round in 1..=settings.rounds {
        log_progress(&format!("posts, round {round} of {}", settings.rounds));
        for threads in [2, 1] {
            for ((_, batch), rates) in peers.iter().zip(&mut theirs).filter(|((peer, _), _)| *peer == threads) {
                let rate = measure_onnxruntime(fixture, "encoder.onnx", threads, *batch, settings.duration).await?;
                log_progress(&format!("  onnxruntime, {threads} threads, batches of {batch}: {}/s", figure(rate)));
                rates.push(rate);
            }
            if threads == 1 {
                float.push(measure_onnxruntime(fixture, "encoder-float.onnx", 1, 5, settings.duration).await?);
            }
            let ran = measure_switchyard(fixture, threads, settings.duration.as_secs().max(1), 0).await?;
            log_progress(&format!("  Switchyard, {threads} threads: {}/s", figure(ran.per_second)));
            alone[threads - 1].push(ran.per_second);
        }
        let rate = pipeline(fixture, keys, settings.duration).await?;
        log_progress(&format!("  through the pipeline, 1 thread: {}/s", figure(rate)));
        through.push(rate);
    }
    let comparison = |against, work: String, ours: &[f64], theirs: Vec<f64>, at_least, aim, if_behind| Comparison {
        against,
        work,
        unit: "posts/s",
        ours: ours.to_vec(),
        theirs,
        better: Better::More,
        at_least,
        aim,
        if_behind,
    };
    for ((threads, batch), theirs) in peers.into_iter().zip(theirs) {
        report.comparisons.push(comparison(
            "Python's onnxruntime, the same model",
            format!("posts from text to labels, {threads} threads; the peer in batches of {batch} in file order"),
            &alone[threads - 1],
            theirs,
            1.0,
            1.5,
            "Both use the same inference library.",
        ));
    }
    report.comparisons.push(comparison(
        "Python's onnxruntime, the model in float32",
        "posts from text to labels, 1 thread; the peer in batches of 5 in file order".to_owned(),
        &alone[0],
        float,
        1.0,
        1.5,
        "Both use the same inference library.",
    ));
    report.comparisons.push(comparison(
        "the models alone, 1 thread",
        format!(
            "posts of profiles of {POSTS_PER_PROFILE} through the whole pipeline, servers and both workers on the same two cores"
        ),
        &through,
        alone[0].clone(),
        0.8,
        0.95,
        "PostgreSQL, RabbitMQ, the API and the general worker share the cores with the models.",
    ));
    log_progress("posts: as many as an hour brings");
    let ran = measure_switchyard(fixture, 2, 0, HOUR_OF_POSTS).await?;
    report.figure(
        format!("memory (PSS) of the models on 2 threads, after a tenth of {} posts and after all", ran.posts),
        format!("{} MiB, {} MiB", figure(ran.memory.0), figure(ran.memory.1)),
    );
    Ok(())
}

async fn measure_switchyard(fixture: &Fixture, threads: usize, seconds: u64, posts: u64) -> anyhow::Result<Ran> {
    let mut command = Process::command(std::env::current_exe()?);
    command.arg("posts").arg("--model").arg(&fixture.peers.model).arg("--texts").arg(&fixture.peers.texts);
    command.args(["--threads", &threads.to_string(), "--seconds", &seconds.to_string(), "--posts", &posts.to_string()]);
    let output = run_program("switchyard-bench posts", command).await?;
    serde_json::from_str(&output).with_context(|| format!("no rate in the output: {output}"))
}

async fn measure_onnxruntime(
    fixture: &Fixture,
    graph: &str,
    threads: usize,
    batch: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    let mut command = Process::command(&fixture.peers.python_onnxruntime);
    command.arg("-B").arg(fixture.peers.peers.join("onnxruntime/posts.py"));
    command.arg("--model").arg(&fixture.peers.model).arg("--texts").arg(&fixture.peers.texts).args(["--graph", graph]);
    command.args(["--threads", &threads.to_string(), "--batch", &batch.to_string()]);
    command.args(["--seconds", &duration.as_secs().max(1).to_string()]);
    let output = run_program("onnxruntime", command).await?;
    output.trim().parse().with_context(|| format!("no rate in the output: {output}"))
}

/// Runs analyses through real processes: the API with its relay, a worker that fans out posts, and
/// the AI worker with one thread. Returns posts per second.
async fn pipeline(fixture: &Fixture, keys: &Keys, duration: Duration) -> anyhow::Result<f64> {
    fixture.recreate_database(PIPELINE, switchyard::TEMPLATE).await?;
    let profiles = u32::try_from((POSTS_A_SECOND * duration.as_secs().max(1)).div_ceil(POSTS_PER_PROFILE as u64))?;
    let store = switchyard::store(fixture, PIPELINE)?;
    fill(&store, keys, profiles).await?;
    drop(store);
    let mounted = Mounted::new(fixture, PIPELINE)?;
    let mut api = Api::start(fixture, &mounted).await?;
    let mut ai = switchyard::ai_worker(fixture, &mounted).await?;
    let mut worker = switchyard::posts_worker(fixture, &mounted).await?;
    let client = fixture.client(PIPELINE).await?;
    let until = Instant::now() + Duration::from_mins(5);
    while client.query_one("select exists (select from switchyard.jobs where finished_at is null)", &[]).await?.get(0) {
        for process in [&mut api.process, &mut ai, &mut worker] {
            process.ensure_running()?;
        }
        if Instant::now() > until {
            bail!("profiles are left after five minutes");
        }
        sleep(Duration::from_millis(500)).await;
    }
    // The rule-based fallback is much faster and does not count.
    let row = client
        .query_one(
            "select count(*), extract(epoch from max(j.finished_at) - min(j.finished_at))::float8
             from switchyard.jobs j join switchyard.outputs o on o.job_id = j.id
             where j.kind = 'ai' and j.state = 'completed' and o.output #>> '{model,fallback}' = 'false'",
            &[],
        )
        .await?;
    for process in [worker, ai, api.process] {
        process.stop().await?;
    }
    fixture.drop_database(PIPELINE).await?;
    let chunks = i64::from(profiles) * i64::try_from(POSTS_PER_PROFILE / POSTS_PER_CHUNK)?;
    anyhow::ensure!(row.get::<_, i64>(0) == chunks, "not every chunk was analysed by the model");
    Ok((chunks * i64::try_from(POSTS_PER_CHUNK)?) as f64 / row.get::<_, f64>(1))
}

/// Analyses chunks of posts as the AI worker does, and prints the rate per second.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let texts = Arc::new(texts(&options.texts)?);
    let (model, threads) = (options.model.clone(), options.threads);
    let start = move || Engine::start(&model, threads, Provider::Cpu, Batching::default());
    let engine = Arc::new(tokio::task::spawn_blocking(start).await??);
    let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let counted = began + Duration::from_secs(1);
    let end = counted + Duration::from_secs(options.seconds);
    let most = options.posts;
    // Two chunks per thread: one runs, one waits.
    let tasks = (0..2 * threads).map(|_| {
        let (engine, texts, next, done) = (engine.clone(), texts.clone(), next.clone(), done.clone());
        tokio::spawn(async move {
            while Instant::now() < end || done.load(Ordering::Relaxed) < most {
                let at = next.fetch_add(POSTS_PER_CHUNK, Ordering::Relaxed);
                let chunk = (at..at + POSTS_PER_CHUNK).map(|post| texts[post % texts.len()].clone()).collect();
                engine.analyze(chunk).await?;
                if most > 0 || (counted..end).contains(&Instant::now()) {
                    done.fetch_add(POSTS_PER_CHUNK as u64, Ordering::Relaxed);
                }
            }
            anyhow::Ok(())
        })
    });
    let watch = async {
        while done.load(Ordering::Relaxed) < most / 10 {
            sleep(Duration::from_millis(50)).await;
        }
        memory_mib(std::process::id())
    };
    let (ended, first) = tokio::join!(try_join_all(tasks), watch);
    ended?.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    let posts = done.load(Ordering::Relaxed);
    let seconds = if most > 0 { began.elapsed().as_secs_f64() } else { (end - counted).as_secs_f64() };
    let ran = Ran { per_second: posts as f64 / seconds, posts, memory: (first, memory_mib(std::process::id())) };
    println!("{}", serde_json::to_string(&ran)?);
    Ok(())
}
