//! Runs the models on threads of their own, so that no async thread ever waits for arithmetic.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    analyzer::{Analysis, Analyzer, Analyzers, ModelInfo},
    model::{ModelError, Provider, Runs},
};

/// What answers posts: the models, or what a test puts in their place.
#[async_trait::async_trait]
pub trait Classify: Send + Sync {
    /// What is named in the answers.
    fn info(&self) -> &ModelInfo;

    /// One analysis for each post, in their order. Dropping the future drops the work.
    async fn classify(&self, posts: Vec<String>) -> Result<Vec<Analysis>, ModelError>;

    /// Whether it gives the right answer to a text whose answer is known.
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

/// How posts are gathered where the model takes several at once.
#[derive(Debug, Clone, Copy)]
pub struct Batching {
    /// Posts in one run of the model at most, whichever jobs they belong to.
    pub most: usize,
    /// How long the first of them waits for the others.
    pub patience: Duration,
}

impl Default for Batching {
    /// 5 posts, 2 ms: the posts of a chunk come together, and those of other jobs are waited for no longer than nobody notices.
    fn default() -> Self {
        Self { most: 5, patience: Duration::from_millis(2) }
    }
}

/// The models on their threads. The queue before them is as long as its users make it: a worker's concurrency times the posts of a chunk.
/// Dropping the engine ends its threads.
pub struct Engine {
    tasks: mpsc::Sender<Task>,
    info: ModelInfo,
    runs: Runs,
}

impl Engine {
    /// Loads the model folder at `root` for `threads` threads. Takes seconds; call it off the async threads.
    pub fn start(root: &Path, threads: usize, wanted: Provider, batching: Batching) -> Result<Self, ModelError> {
        let Analyzers { analyzers, info, runs } = Analyzer::load(root, threads.max(1), wanted)?;
        let (tasks, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for (number, analyzer) in analyzers.into_iter().enumerate() {
            let queue = Arc::clone(&queue);
            let batching = if analyzer.batches() { batching } else { Batching { most: 1, ..batching } };
            thread::Builder::new()
                .name(format!("model-{number}"))
                .spawn(move || serve(analyzer, &queue, batching))
                .map_err(|error| ModelError::Run(format!("cannot start a thread: {error}")))?;
        }
        Ok(Self { tasks, info, runs })
    }

    /// Where the model runs.
    pub const fn runs(&self) -> &Runs {
        &self.runs
    }

    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Analyses posts, spread over the threads; answers are in the order of the posts. Dropping the future drops what has not begun.
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

    /// Runs a model on a text whose answer is known, behind whatever waits already.
    pub async fn check(&self) -> Result<(), ModelError> {
        let (reply, answer) = oneshot::channel();
        self.tasks.send(Task::Check(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

#[async_trait::async_trait]
impl Classify for Engine {
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
        // The queue is free for the others while this thread works.
        let taken = take(&queue.lock().unwrap_or_else(PoisonError::into_inner), batching);
        let Some((posts, checks)) = taken else { return };
        answer(&mut analyzer, posts);
        for reply in checks {
            let _ = reply.send(guarded(|| analyzer.check()));
        }
    }
}

/// The next posts for one run of the model, and checks that came in between; `None` when nobody can ask any more. Whoever takes keeps the others from
/// taking until the batch is full or its time is over: two half batches would be slower than a whole one.
fn take(queue: &mpsc::Receiver<Task>, batching: Batching) -> Option<(Vec<Post>, Vec<Reply<()>>)> {
    let (mut posts, mut checks) = (Vec::new(), Vec::new());
    let mut next = queue.recv().ok()?;
    let until = Instant::now() + batching.patience;
    loop {
        match next {
            // Whoever asked has gone.
            Task::Post(post) if post.reply.is_closed() => {}
            Task::Post(post) => posts.push(post),
            Task::Check(reply) => checks.push(reply),
        }
        if posts.len() >= batching.most || (posts.is_empty() && !checks.is_empty()) {
            return Some((posts, checks));
        }
        // Nobody waits for an empty batch to fill.
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

/// Answers posts in one run. What fails for a batch is tried post by post: one of them may be to blame.
fn answer(analyzer: &mut Analyzer, posts: Vec<Post>) {
    let texts: Vec<&str> = posts.iter().map(|post| post.text.as_str()).collect();
    match guarded(|| analyzer.analyze(&texts)) {
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

/// A panic in a dependency must not take a thread with it: it is an error of this one post.
fn guarded<T>(work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ModelError::Run("it panicked".to_owned())))
}
