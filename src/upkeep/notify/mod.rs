//! Notifications: delivering events to webhooks, at least once, and in order per key.
//!
//! Shards hold the events (`object::decisions::events`). One background core delivers for the whole server. It has a
//! watcher for each shard, which is woken by the shard's bell, asks the shard for which targets events wait, and runs
//! one `Queue` per target and shard, which delivers one event after the other. So a target that is down or slow holds
//! up no other. May use `object::core`; the only part of the server that opens connections, with hyper over tokio's
//! sockets.
//!
//! Invariants: an event is deleted only after its target has taken it, or when its target discards. Everything ends
//! with the background core, even in the middle of a request, and what was not deleted by then is delivered again.

pub mod message;
mod queue;
pub mod webhook;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::queue::Queue;
use self::webhook::Webhook;
use super::ask::ask;
use crate::base::ids::ShardId;
use crate::object::core::Core;
use crate::object::open::Running;

/// Starts delivery; one core does it for all. All cores have opened their shards by then.
pub fn start(running: &mut Running, webhooks: Arc<[Webhook]>) {
    let core = running.core.clone();
    running.tend(async move {
        // It ends when the background core does.
        let _ = core.foreman.hire(move |core| deliver(core, webhooks)).await;
    });
}

async fn deliver(core: Rc<Core>, webhooks: Arc<[Webhook]>) {
    webhooks.iter().for_each(|webhook| drop(core.duty.deliveries.of(&webhook.name)));
    let mut watchers = JoinSet::new();
    for shard in (0..core.shard_count()).map(ShardId) {
        let (core, webhooks) = (core.clone(), webhooks.clone());
        watchers.spawn_local(Watcher { core, webhooks, shard, queues: BTreeMap::new() }.watch());
    }
    core.retired().await;
}

/// Pause before a shard that was too busy is asked again.
const BUSY: Duration = Duration::from_secs(1);

/// Looks after the queues of one shard.
struct Watcher {
    core: Rc<Core>,
    webhooks: Arc<[Webhook]>,
    shard: ShardId,
    /// By target; `None` for one that is not configured.
    queues: BTreeMap<String, Option<Rc<Notify>>>,
}

impl Watcher {
    async fn watch(mut self) {
        let mut work = JoinSet::new();
        loop {
            match ask(&self.core, self.shard, |home| async move { Ok(home.events.targets()) }).await {
                Ok(targets) => targets.into_iter().for_each(|target| self.wake(target, &mut work)),
                Err(_) => {
                    tokio::time::sleep(BUSY).await;
                    continue;
                }
            }
            self.core.peers.bells[usize::from(self.shard.0)].notified().await;
        }
    }

    fn wake(&mut self, target: String, work: &mut JoinSet<()>) {
        if let Some(known) = self.queues.get(&target) {
            known.iter().for_each(|rung| rung.notify_one());
            return;
        }
        let Some(webhook) = self.webhooks.iter().find(|webhook| webhook.name == target) else {
            tracing::warn!(shard = %self.shard, webhook = target, "events wait for a target that is not configured: name it with --webhook");
            self.queues.insert(target, None);
            return;
        };
        let rung = Rc::new(Notify::new());
        let queue = Queue::new(self.core.clone(), self.shard, webhook.clone());
        work.spawn_local(queue.run(rung.clone()));
        self.queues.insert(target, Some(rung));
    }
}
