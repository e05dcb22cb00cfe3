//! All provider instances of a run: started, listened to, told to leave.

use std::collections::HashSet;
use std::future::Future;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{End, News};
use crate::master::leave::Leave;

/// The running tasks of provider instances. Dropped, it ends them at once; a Terraform goes on by itself.
#[derive(Debug)]
pub struct Fleet {
    tasks: JoinSet<()>,
    sender: mpsc::UnboundedSender<(String, News)>,
    news: mpsc::UnboundedReceiver<(String, News)>,
    leave: watch::Sender<Leave>,
    /// Those from whom a task may still be taken.
    able: HashSet<String>,
    under_way: usize,
}

/// A provider instance's line to the master.
#[derive(Debug, Clone)]
pub struct Line {
    name: String,
    sender: mpsc::UnboundedSender<(String, News)>,
    pub leave: watch::Receiver<Leave>,
}

impl Line {
    /// A master that does not listen any more has no use for it.
    pub fn tell(&self, news: News) {
        drop(self.sender.send((self.name.clone(), news)));
    }
}

impl Default for Fleet {
    fn default() -> Fleet {
        let (sender, news) = mpsc::unbounded_channel();
        let (leave, _) = watch::channel(Leave::No);
        Fleet { tasks: JoinSet::new(), sender, news, leave, able: HashSet::new(), under_way: 0 }
    }
}

impl Fleet {
    /// Starts the task of one provider instance.
    pub fn start<F>(&mut self, name: &str, task: impl FnOnce(Line) -> F)
    where
        F: Future<Output = End> + Send + 'static,
    {
        let line = Line { name: name.to_owned(), sender: self.sender.clone(), leave: self.leave.subscribe() };
        let ended = line.clone();
        let task = task(line);
        self.able.insert(name.to_owned());
        self.under_way += 1;
        self.tasks.spawn(async move { ended.tell(News::Ended(task.await)) });
    }

    /// The next news; none once all have ended.
    pub async fn next(&mut self) -> Option<(String, News)> {
        if self.under_way == 0 {
            return None;
        }
        let (name, news) = self.news.recv().await.expect("the fleet itself holds a sender");
        match &news {
            News::Ended(_) => {
                self.under_way -= 1;
                self.able.remove(&name);
            }
            News::Failed { .. } | News::Up(_) => {}
        }
        Some((name, news))
    }

    /// Whether nobody is left who could do a task.
    pub fn is_unable(&self) -> bool {
        self.able.is_empty()
    }

    /// Tells all of them to go, those that are started later too.
    pub fn leave(&self, how: Leave) {
        self.leave.send_if_modified(|leave| {
            let worse = *leave != how && matches!(*leave, Leave::No | Leave::Told);
            if worse {
                *leave = how;
            }
            worse
        });
    }
}
