//! Lifecycle: looks for what is due by the rules of its bucket, and has it removed.
//!
//! A pass begins where a day begins, because nothing is due at any other time, and once after a start. It walks, shard
//! by shard, the prefixes that rules name in the buckets that have rules; the owner of a shard gives out pages of
//! entries, judging them is done here, on a background core, beside clients with a rest after each page. What seems
//! due is named to the owner, who decides again and removes it (`object::lifecycle`). A pass is remembered nowhere: it
//! is cheap, and what was due before a stop is due after it. Rules that changed since are given a pass of their own
//! within an hour, and so is everything when a pass could not do all that was due.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::ask::ask;
use crate::base::ids::ShardId;
use crate::base::limits::{LIFECYCLE_LOOK_SECONDS, LIFECYCLE_RESTS};
use crate::base::metrics::JobKind;
use crate::base::time::Nanos;
use crate::catalog::key;
use crate::catalog::log::Log;
use crate::catalog::value::{UploadValue, Version};
use crate::codec::prefixes::outermost;
use crate::codec::xml::{Lifecycle, LifecycleRule};
use crate::object::core::Core;
use crate::object::decisions::uploads::UploadRef;
use crate::object::lifecycle::{Action, Day, Due, Facts, History, KeyRange, Subject, Tally, abort};
use crate::object::open::Running;
use crate::object::registry::settings::BucketSettings;
use crate::object::tending::pace::{GivenUp, Pace, Urgency};

/// Starts it on the one core that does it for all. `day` is how long a day of a rule is.
pub fn start(running: &mut Running, day: Day) {
    let (core, log) = (running.core.clone(), running.log.clone());
    running.tend(run_when_due(core, log, day));
}

/// Passes when a day begins, and when rules changed, until the server stops.
async fn run_when_due(core: Rc<Core>, log: Rc<Log>, day: Day) {
    let mut known = BTreeMap::new();
    let mut due = Nanos(0);
    while !log.is_over() {
        let now = core.pool.world.now();
        // A clock that was set back does not keep us waiting for days.
        due = due.min(day.next(now));
        let (is_due, subjects) = (now >= due, subjects(&core));
        let wanted = if is_due { subjects.clone() } else { changed(&subjects, &known) };
        if is_due || !wanted.is_empty() {
            due = day.next(now);
            let is_done = pass(&core, wanted, day).await;
            let known_now = subjects.into_iter().map(|subject| (subject.named.id, subject.settings));
            known = known_now.filter(|_| is_done).collect();
        }
        let wait = Duration::from_nanos(due.0.saturating_sub(core.pool.world.now().0));
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait.min(LOOK)) => {}
            () = log.over() => {}
        }
    }
}

const LOOK: Duration = Duration::from_secs(LIFECYCLE_LOOK_SECONDS);

/// The buckets with rules.
pub fn subjects(core: &Core) -> Vec<Subject> {
    let selected = core.common.buckets.select(|settings| settings.lifecycle.is_some());
    selected.into_iter().map(|(named, settings)| Subject { named, settings }).collect()
}

/// Those that are not as they were.
fn changed(now: &[Subject], before: &BTreeMap<u64, Arc<BucketSettings>>) -> Vec<Subject> {
    let is_same = |subject: &Subject| {
        let old = before.get(&subject.named.id);
        old.is_some_and(|old| {
            Arc::ptr_eq(old, &subject.settings) || old.lifecycle == subject.settings.lifecycle
        })
    };
    now.iter().filter(|subject| !is_same(subject)).cloned().collect()
}

/// One pass over some buckets, on the background core. False when something is still owed.
pub async fn pass(core: &Rc<Core>, subjects: Vec<Subject>, day: Day) -> bool {
    let begun = Instant::now();
    core.board.lifecycle.begin();
    let done = match subjects.is_empty() {
        true => Some((0, Tally::default())),
        false => core.in_background(move |core| Pass::run(core, subjects, day)).await,
    };
    core.board.lifecycle.end(begun.elapsed().as_micros() as u64);
    let Some((examined, tally)) = done else { return false };
    if examined > 0 || !tally.is_empty() {
        let Tally { current, noncurrent, markers, uploads, locked, failed } = tally;
        let seconds = begun.elapsed().as_secs_f32();
        tracing::info!(
            examined,
            current,
            noncurrent,
            markers,
            uploads,
            locked,
            failed,
            seconds,
            "lifecycle pass ends"
        );
    }
    tally.failed == 0
}

struct Pass {
    core: Rc<Core>,
    pace: Pace,
    day: Day,
    /// By id.
    subjects: Vec<Subject>,
    examined: u64,
    tally: Tally,
}

impl Pass {
    /// How much was looked at, and what became of what was due.
    async fn run(core: Rc<Core>, mut subjects: Vec<Subject>, day: Day) -> (u64, Tally) {
        subjects.sort_by_key(|subject| subject.named.id);
        let versions = ranges(&subjects, is_about_versions, key::versions_from, key::versions_end);
        let uploads = ranges(&subjects, is_about_uploads, key::uploads_from, key::uploads_end);
        let pace = Pace::new(&core, JobKind::Lifecycle, Urgency::default());
        let mut pass = Pass { core, pace, day, subjects, examined: 0, tally: Tally::default() };
        for shard in (0..pass.core.shard_count()).map(ShardId) {
            let walked = pass.walk(shard, &versions, Sieve::versions).await;
            if walked.is_err() || pass.walk(shard, &uploads, Sieve::uploads).await.is_err() {
                pass.tally.failed += 1;
                break;
            }
        }
        (pass.examined, pass.tally)
    }

    /// Looks at every entry inside of the ranges, page by page.
    async fn walk(
        &mut self,
        shard: ShardId,
        ranges: &Arc<[KeyRange]>,
        sift: impl Fn(&mut Sieve, &[Subject], &[(Bytes, Bytes)]),
    ) -> Result<(), GivenUp> {
        let mut sieve = Sieve::new(self.core.pool.world.now(), self.day);
        let mut from = ranges.first().map(|(start, _)| start.clone());
        while let Some(at) = from.take() {
            if self.core.board.is_closing() {
                return Err(GivenUp);
            }
            let (asked, inside) = (at.clone(), ranges.clone());
            let page = ask(&self.core, shard, move |home| home.entries(asked, inside)).await;
            let looked = page.as_ref().map_or(0, |page| page.entries.len() as u64);
            let mut done = Tally { failed: page.is_err().into(), ..Tally::default() };
            match page {
                Ok(page) => {
                    sift(&mut sieve, &self.subjects, &page.entries);
                    if page.next.is_none() {
                        sieve.end_key(&self.subjects);
                    }
                    from = page.next;
                }
                Err(error) => {
                    tracing::warn!(%shard, %error, "lifecycle passes over what it cannot read");
                    // What is in the way stands somewhere in this range.
                    let place = ranges.partition_point(|(start, _)| *start <= at);
                    from = ranges.get(place).map(|(start, _)| start.clone());
                }
            }
            let rests = if sieve.found.is_empty() { LIFECYCLE_RESTS } else { 1 };
            done += self.remove(shard, std::mem::take(&mut sieve.found)).await;
            self.examined += looked;
            self.tally += done;
            self.core.board.lifecycle.add(looked, &done);
            self.pace.step_and_rest(0, rests).await?;
        }
        Ok(())
    }

    async fn remove(&self, shard: ShardId, found: Vec<Due>) -> Tally {
        if found.is_empty() {
            return Tally::default();
        }
        let (failed, day) = (found.len() as u64, self.day);
        let removed = ask(&self.core, shard, move |home| home.expire(found, day)).await;
        removed.unwrap_or_else(|error| {
            tracing::debug!(%shard, %error, "what is due stays for the next pass");
            Tally { failed, ..Tally::default() }
        })
    }
}

/// What the rules are about, as ranges of the catalog: disjoint and in order.
fn ranges(
    subjects: &[Subject],
    wanted: impl Fn(&LifecycleRule) -> bool,
    from: impl Fn(u64, &[u8]) -> Vec<u8>,
    end: impl Fn(u64, &[u8]) -> Vec<u8>,
) -> Arc<[KeyRange]> {
    let of = |subject: &Subject| -> Vec<KeyRange> {
        let rules = subject.settings.lifecycle.as_ref().map_or(&[][..], Lifecycle::rules);
        let rules = rules.iter().filter(|rule| rule.enabled && wanted(rule));
        let prefixes = outermost(rules.map(|rule| rule.filter.prefix()));
        let range = |prefix: &str| {
            let (bucket, prefix) = (subject.named.id, prefix.as_bytes());
            (from(bucket, prefix), end(bucket, prefix))
        };
        prefixes.into_iter().map(range).collect()
    };
    let mut all: Vec<KeyRange> = subjects.iter().flat_map(of).collect();
    all.sort_unstable();
    all.into()
}

fn is_about_versions(rule: &LifecycleRule) -> bool {
    rule.expiration.is_some() || rule.noncurrent.is_some()
}

fn is_about_uploads(rule: &LifecycleRule) -> bool {
    rule.abort_days.is_some()
}

/// Judges entries as they come by; what seems due is kept in `found`.
struct Sieve {
    time: (Nanos, Day),
    key: Option<KeyAtHand>,
    found: Vec<Due>,
}

/// The key whose versions come by.
struct KeyAtHand {
    /// What its versions have in common.
    object: Bytes,
    name: String,
    /// Index of its bucket.
    subject: usize,
    by_tags: bool,
    history: History,
    /// The owner will look at all of it.
    is_found: bool,
}

impl Sieve {
    fn new(now: Nanos, day: Day) -> Self {
        Sieve { time: (now, day), key: None, found: Vec::new() }
    }

    fn versions(&mut self, subjects: &[Subject], entries: &[(Bytes, Bytes)]) {
        for (at, value) in entries {
            let object = key::object_of(at);
            if self.key.as_ref().is_none_or(|key| key.object != object) {
                self.end_key(subjects);
                let object = at.slice_ref(object);
                self.key = subject_of(subjects, at).and_then(|subject| {
                    let name = String::from_utf8(key::parse_version(at)?.0).ok()?;
                    let by_tags = asks_tags(&subjects[subject]);
                    Some(KeyAtHand {
                        object,
                        name,
                        subject,
                        by_tags,
                        history: History::default(),
                        is_found: false,
                    })
                });
            }
            self.version(subjects, value);
        }
    }

    fn version(&mut self, subjects: &[Subject], value: &[u8]) {
        let Some(key) = self.key.as_mut().filter(|key| !key.is_found) else { return };
        let Some(lifecycle) = &subjects[key.subject].settings.lifecycle else { return };
        // What cannot be decoded is the business of whoever reads it.
        let whole = key.by_tags.then(|| Version::decode(value)).flatten();
        let Some(facts) = Facts::read(whole.as_ref(), value) else { return };
        let action = key.history.tell(lifecycle, &key.name, &facts, self.time);
        self.find(subjects, action);
    }

    /// No more versions of the key come.
    fn end_key(&mut self, subjects: &[Subject]) {
        let action = self.key.as_ref().filter(|key| !key.is_found).and_then(|key| key.history.end());
        self.find(subjects, action);
        self.key = None;
    }

    fn find(&mut self, subjects: &[Subject], action: Option<Action>) {
        let (Some(key), true) = (self.key.as_mut(), action.is_some()) else { return };
        key.is_found = true;
        let subject = &subjects[key.subject];
        self.found.push(Due::Key { bucket: subject.named.clone(), key: key.name.clone() });
    }

    fn uploads(&mut self, subjects: &[Subject], entries: &[(Bytes, Bytes)]) {
        let (now, day) = self.time;
        for (at, value) in entries {
            let Some(subject) = subject_of(subjects, at).map(|place| &subjects[place]) else { continue };
            let Some(lifecycle) = &subject.settings.lifecycle else { continue };
            let parsed = key::parse_upload(at).zip(UploadValue::decode(value));
            let Some(((name, upload), value)) = parsed else { continue };
            let Ok(key) = String::from_utf8(name) else { continue };
            if abort(lifecycle, &key, value.initiated, day).is_some_and(|(date, _)| date <= now) {
                self.found.push(Due::Upload(UploadRef { bucket: subject.named.clone(), key, upload }));
            }
        }
    }
}

fn subject_of(subjects: &[Subject], at: &[u8]) -> Option<usize> {
    let bucket = key::bucket_of(at)?;
    subjects.binary_search_by_key(&bucket, |subject| subject.named.id).ok()
}

fn asks_tags(subject: &Subject) -> bool {
    let rules = subject.settings.lifecycle.as_ref().map_or(&[][..], Lifecycle::rules);
    rules.iter().any(|rule| rule.enabled && !rule.filter.tags.is_empty())
}
