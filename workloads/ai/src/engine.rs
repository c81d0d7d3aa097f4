//! Runs the models on threads of their own, so that no async thread ever waits for arithmetic.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use tokio::sync::oneshot;

use crate::{
    analyzer::{Analysis, Analyzer, ModelInfo},
    model::ModelError,
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
    Post(String, Reply<Analysis>),
    Check(Reply<()>),
}

/// The models on their threads. The queue before them is as long as its users make it: a worker's concurrency times the posts of a chunk.
/// Dropping the engine ends its threads.
pub struct Engine {
    tasks: mpsc::Sender<Task>,
    info: ModelInfo,
}

impl Engine {
    /// Loads the model folder at `root`, and runs every thread's model on a text whose answer is known: the first post is as fast as any.
    /// Takes seconds; call it off the async threads.
    pub fn start(root: &Path, threads: usize) -> Result<Self, ModelError> {
        let (mut analyzers, info) = Analyzer::load(root, threads.max(1))?;
        for analyzer in &mut analyzers {
            analyzer.check()?;
        }
        let (tasks, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for (number, analyzer) in analyzers.into_iter().enumerate() {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("model-{number}"))
                .spawn(move || serve(analyzer, &queue))
                .map_err(|error| ModelError::Run(format!("cannot start a thread: {error}")))?;
        }
        Ok(Self { tasks, info })
    }

    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Analyses posts, spread over the threads; answers are in the order of the posts. Dropping the future drops what has not begun.
    pub async fn analyze(&self, posts: Vec<String>) -> Result<Vec<Analysis>, ModelError> {
        let mut answers = Vec::with_capacity(posts.len());
        for post in posts {
            let (reply, answer) = oneshot::channel();
            self.tasks.send(Task::Post(post, reply)).map_err(|_| stopped())?;
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

fn serve(mut analyzer: Analyzer, queue: &Mutex<mpsc::Receiver<Task>>) {
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match task {
            Err(mpsc::RecvError) => return,
            Ok(Task::Post(_, reply)) if reply.is_closed() => {}
            Ok(Task::Post(post, reply)) => {
                let _ = reply.send(guarded(|| analyzer.detail(&post).map(|detail| detail.analysis)));
            }
            Ok(Task::Check(reply)) => {
                let _ = reply.send(guarded(|| analyzer.check()));
            }
        }
    }
}

/// A panic in a dependency must not take a thread with it: it is an error of this one post.
fn guarded<T>(work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ModelError::Run("it panicked".to_owned())))
}
