//! The events of one shard for one target: delivered in order, retried with growing pauses, deleted when delivered.
//!
//! A target that cannot be reached, is too slow or reports that it is overloaded (429 and 5xx) is *down*: the whole
//! queue pauses. With any other error it *refuses* one event: only the events of that key pause, so that one event that
//! a target cannot read does not hold up the rest for ever.
//! Invariants: no event of a key is delivered while an earlier one waits; pauses grow from failure to failure, each
//! with a random part.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::message;
use super::webhook::{Client, Failure, Webhook};
use crate::base::ids::ShardId;
use crate::base::limits::{
    EVENTS_PAGE, WEBHOOK_PAUSE_MS_MAX, WEBHOOK_PAUSE_MS_MIN, WEBHOOK_REFUSED_KEYS_MAX,
};
use crate::base::metrics::DeliveryCounters;
use crate::catalog::event::EventValue;
use crate::object::core::Core;
use crate::upkeep::ask::ask;

pub struct Queue {
    core: Rc<Core>,
    shard: ShardId,
    target: String,
    client: Client,
    counters: Rc<DeliveryCounters>,
    /// Failures of the target in a row.
    failures: u32,
    /// Keys, with their buckets, of which an event was refused.
    refused: BTreeMap<(String, String), Refusal>,
}

/// An event that the target refused.
struct Refusal {
    times: u32,
    /// When it is told again.
    due: Instant,
}

/// The target cannot be told anything now.
struct Down(String);

impl Queue {
    pub fn new(core: Rc<Core>, shard: ShardId, webhook: Webhook) -> Self {
        let counters = core.duty.deliveries.of(&webhook.name);
        let (target, client) = (webhook.name.clone(), Client::new(webhook));
        Queue { core, shard, target, client, counters, failures: 0, refused: BTreeMap::new() }
    }

    /// Goes on until it is dropped; `rung` says that there may be something new.
    pub async fn run(mut self, rung: Rc<Notify>) {
        loop {
            if let Err(Down(reason)) = self.round().await {
                if self.failures == 0 {
                    tracing::warn!(webhook = self.target, shard = %self.shard, reason, "a target is down: its events wait");
                }
                self.failures = self.failures.saturating_add(1);
                tokio::time::sleep(self.pause(self.failures)).await;
                continue;
            }
            let due = self.refused.values().map(|refusal| refusal.due).min();
            match due {
                None => rung.notified().await,
                Some(due) => {
                    // Each round passes everything that waits, so not with every event.
                    tokio::time::sleep(self.pause(1)).await;
                    tokio::select! {
                        biased;
                        () = rung.notified() => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
            }
        }
    }

    /// Tells everything that waits, oldest first.
    async fn round(&mut self) -> Result<(), Down> {
        let (mut after, begun) = (0, Instant::now());
        loop {
            let target = self.target.clone();
            let page = ask(&self.core, self.shard, move |home| home.event_page(target, after, EVENTS_PAGE));
            let page = page.await.map_err(|error| Down(format!("the events cannot be read: {error}")))?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            let mut told = Vec::with_capacity(page.len());
            let result = self.tell_page(page, begun, &mut told).await;
            self.forget(told).await;
            result?;
        }
    }

    /// `told` gets what may be deleted, whatever the result is. A key that pauses when the round begins, or begins to
    /// pause in it, pauses for the whole round: its later events stand further back.
    async fn tell_page(
        &mut self,
        page: Vec<(u64, Vec<u8>)>,
        begun: Instant,
        told: &mut Vec<u64>,
    ) -> Result<(), Down> {
        for (sequence, value) in page {
            let Some(event) = EventValue::decode(&value) else {
                tracing::error!(webhook = self.target, sequence, "a damaged event is given up");
                self.counters.discarded.increment();
                told.push(sequence);
                continue;
            };
            if self.client.discards() {
                self.counters.discarded.increment();
                told.push(sequence);
                continue;
            }
            let key = (event.bucket.clone(), event.key.clone());
            if self.refused.get(&key).is_some_and(|refusal| refusal.due > begun) {
                continue;
            }
            match self.client.post(message::of(&event, sequence)).await {
                Ok(()) => {
                    self.counters.delivered.increment();
                    self.refused.remove(&key);
                    self.recovered();
                    told.push(sequence);
                }
                Err(Failure::Refused(status)) => self.note_refusal(key, status)?,
                Err(Failure::Down(reason)) => {
                    self.counters.failed.increment();
                    return Err(Down(reason));
                }
            }
        }
        Ok(())
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(webhook = self.target, shard = %self.shard, "a target takes events again");
        }
    }

    fn note_refusal(&mut self, key: (String, String), status: u16) -> Result<(), Down> {
        self.counters.failed.increment();
        let times = self.refused.get(&key).map_or(0, |refusal| refusal.times).saturating_add(1);
        if times == 1 {
            let (bucket, key) = &key;
            tracing::warn!(
                webhook = self.target,
                bucket,
                key,
                status,
                "a target refuses an event: it is told again later"
            );
        }
        if self.refused.len() >= WEBHOOK_REFUSED_KEYS_MAX && !self.refused.contains_key(&key) {
            return Err(Down(format!("it refuses many events, the last with status {status}")));
        }
        let due = Instant::now() + self.pause(times);
        self.refused.insert(key, Refusal { times, due });
        Ok(())
    }

    /// Deletes what was told. It would be told again otherwise, so nothing else is done before.
    async fn forget(&self, told: Vec<u64>) {
        while !told.is_empty() {
            let (target, sequences) = (self.target.clone(), told.clone());
            match ask(&self.core, self.shard, move |home| home.forget_events(target, sequences)).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(webhook = self.target, %error, "events that were told cannot be deleted yet");
                    tokio::time::sleep(self.pause(1)).await;
                }
            }
        }
    }

    /// Between the half and the whole of what doubles with each failure.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = WEBHOOK_PAUSE_MS_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let half = doubled.min(WEBHOOK_PAUSE_MS_MAX) / 2;
        Duration::from_millis(half + self.core.pool.world.random_u64() % (half + 1))
    }
}
