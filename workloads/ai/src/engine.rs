//! Runs the model on threads of its own, so that inference never blocks async threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    analysis::{Analysis, ModelInfo},
    analyzer::{Analyzer, LoadedModel},
    model::{ModelError, Placement, Provider},
};

/// Classifies posts: the model, or a fake of it in tests.
#[async_trait::async_trait]
pub trait Classifier: Send + Sync {
    /// The model that the answers name.
    fn info(&self) -> &ModelInfo;

    /// One analysis per post, in the same order. Dropping the future cancels the work.
    async fn classify(&self, posts: Vec<String>) -> Result<Vec<Analysis>, ModelError>;

    /// Runs the probe. Fails if the answer is wrong.
    async fn check(&self) -> Result<(), ModelError>;
}

type Reply<T> = oneshot::Sender<Result<T, ModelError>>;

enum Task {
    Post(Post),
    Check(Reply<()>),
}

struct Post {
    text: String,
    reply: Reply<Analysis>,
}

/// How posts are collected into batches, if the model runs batches.
#[derive(Debug, Clone, Copy)]
pub struct Batching {
    /// Most posts of one batch, from any jobs.
    pub max_posts: usize,
    /// How long the first post of a batch waits for others.
    pub max_wait: Duration,
}

impl Default for Batching {
    /// 5 posts and 2 ms. The posts of a chunk arrive together, so 2 ms add little latency.
    fn default() -> Self {
        Self { max_posts: 5, max_wait: Duration::from_millis(2) }
    }
}

/// The model on its threads, with one queue of tasks.
///
/// The queue is unbounded. Its callers bound it to the worker's concurrency times the posts of a
/// chunk. Dropping the engine ends its threads.
pub struct Engine {
    tasks: mpsc::Sender<Task>,
    info: ModelInfo,
    placement: Placement,
}

impl Engine {
    /// Loads the model folder at `root` for `threads` threads. Blocks for seconds.
    ///
    /// # Errors
    /// As [`Analyzer::load`], or [`ModelError::Run`] if a thread cannot be started.
    pub fn start(root: &Path, threads: usize, requested: Provider, batching: Batching) -> Result<Self, ModelError> {
        let LoadedModel { analyzers, info, placement } = Analyzer::load(root, threads.max(1), requested)?;
        let (tasks, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for (number, analyzer) in analyzers.into_iter().enumerate() {
            let queue = Arc::clone(&queue);
            let batching = if analyzer.batches() { batching } else { Batching { max_posts: 1, ..batching } };
            thread::Builder::new()
                .name(format!("model-{number}"))
                .spawn(move || serve(analyzer, &queue, batching))
                .map_err(|error| ModelError::Run(format!("cannot start a thread: {error}")))?;
        }
        Ok(Self { tasks, info, placement })
    }

    /// Where the model runs.
    pub const fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The model's name and version.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Analyses posts on all threads and returns the answers in the order of the posts. Dropping
    /// the future cancels the posts that no thread has started.
    ///
    /// # Errors
    /// The error of the first post that failed.
    pub async fn analyze(&self, posts: Vec<String>) -> Result<Vec<Analysis>, ModelError> {
        let mut answers = Vec::with_capacity(posts.len());
        for post in posts {
            let (reply, answer) = oneshot::channel();
            self.tasks.send(Task::Post(Post { text: post, reply })).map_err(|_| stopped())?;
            answers.push(answer);
        }
        let mut analyses = Vec::with_capacity(answers.len());
        for answer in answers {
            analyses.push(answer.await.map_err(|_| stopped())??);
        }
        Ok(analyses)
    }

    /// Runs the probe, after the tasks that are queued already.
    ///
    /// # Errors
    /// As [`Analyzer::check`].
    pub async fn check(&self) -> Result<(), ModelError> {
        let (reply, answer) = oneshot::channel();
        self.tasks.send(Task::Check(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

#[async_trait::async_trait]
impl Classifier for Engine {
    fn info(&self) -> &ModelInfo {
        self.info()
    }

    async fn classify(&self, posts: Vec<String>) -> Result<Vec<Analysis>, ModelError> {
        self.analyze(posts).await
    }

    async fn check(&self) -> Result<(), ModelError> {
        Self::check(self).await
    }
}

fn stopped() -> ModelError {
    ModelError::Run("its threads have ended".to_owned())
}

fn serve(mut analyzer: Analyzer, queue: &Mutex<mpsc::Receiver<Task>>, batching: Batching) {
    loop {
        // The lock is released before the batch runs.
        let batch = next_batch(&queue.lock(), batching);
        let Some((posts, checks)) = batch else { return };
        answer(&mut analyzer, posts);
        for reply in checks {
            let _ = reply.send(catch_panic(|| analyzer.check()));
        }
    }
}

/// The next batch, with the checks that arrived in between; `None` if the engine was dropped.
///
/// The caller holds the queue until the batch is full or its time is over: two half batches on two
/// threads would be slower than a full one.
fn next_batch(queue: &mpsc::Receiver<Task>, batching: Batching) -> Option<(Vec<Post>, Vec<Reply<()>>)> {
    let (mut posts, mut checks) = (Vec::new(), Vec::new());
    let mut next = queue.recv().ok()?;
    let until = Instant::now() + batching.max_wait;
    loop {
        match next {
            // The caller has dropped its future.
            Task::Post(post) if post.reply.is_closed() => {}
            Task::Post(post) => posts.push(post),
            Task::Check(reply) => checks.push(reply),
        }
        if posts.len() >= batching.max_posts || (posts.is_empty() && !checks.is_empty()) {
            return Some((posts, checks));
        }
        // The wait is for the first post of a batch; without one there is nothing to delay.
        let wait = if posts.is_empty() { None } else { Some(until.saturating_duration_since(Instant::now())) };
        next = match wait {
            None => queue.recv().ok()?,
            Some(wait) => match queue.recv_timeout(wait) {
                Ok(task) => task,
                Err(_) => return Some((posts, checks)),
            },
        };
    }
}

/// Answers posts in one batch. If the batch fails, each post runs alone, because one of them may be
/// the cause.
fn answer(analyzer: &mut Analyzer, posts: Vec<Post>) {
    let texts: Vec<&str> = posts.iter().map(|post| post.text.as_str()).collect();
    match catch_panic(|| analyzer.analyze(&texts)) {
        Ok(analyses) => {
            for (post, analysis) in posts.into_iter().zip(analyses) {
                let _ = post.reply.send(Ok(analysis));
            }
        }
        Err(_) if posts.len() > 1 => posts.into_iter().for_each(|post| answer(analyzer, vec![post])),
        Err(error) => {
            for post in posts {
                let _ = post.reply.send(Err(error.clone()));
            }
        }
    }
}

/// A panic in a dependency is an error of the post and must not end the thread.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ModelError::Run("it panicked".to_owned())))
}
