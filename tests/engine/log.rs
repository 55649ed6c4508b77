//! The log alone, on simulated drives: what it does with more segments than it may have.
//!
//! A start with fewer cores deals old log segments out to fewer logs. A log that began with as many as
//! it may have created none, so the first commit waited for ever, and emptying an old segment is a commit.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use basalt::base::ids::{LogId, ShardId};
use basalt::base::join::join_all;
use basalt::base::limits::PAGE;
use basalt::catalog::log::{Apply, Log, LogError, Sealed};
use basalt::catalog::record::{Operation, Sequence};
use basalt::catalog::value::LogPosition;
use basalt::drive::device::{Drive, Drives};
use basalt::io::disk::Access;
use basalt::io::sim::SimWorld;
use basalt::object::open;
use basalt::pool::logs::Logs;
use basalt::pool::{Pool, format};
use tokio::task::JoinHandle;

use crate::harness::{request, run, world};

struct Ignore;

impl Apply for Ignore {
    fn apply(&self, _: ShardId, _: Sequence, _: Vec<Operation>, _: LogPosition) {}
}

/// A log on a fresh pool that begins with `old` full segments and may have `segments_max`; and its writer.
async fn log(sim: &SimWorld, old: u64, segments_max: usize) -> (Rc<Log>, JoinHandle<()>) {
    let opening = open::find(&sim.world(), &request(4, 2), &|_, _| {}).await.expect("a fresh pool");
    let (shared, world) = (&opening.shared, sim.world());
    let drive = |(member, state): (&format::Member, &std::sync::Arc<_>)| {
        let (meta, data) = format::files(member.path.as_ref().expect("it is there"), member.is_device);
        let open = |path, access| world.open(path, false, access).expect("it can be opened");
        Drive::new(std::sync::Arc::clone(state), open(&meta, Access::DirectSync), open(&data, Access::Direct))
    };
    let drives = Drives::new(shared.members.iter().zip(shared.drives.iter()).map(drive).collect());
    let (geometry, epoch, tables) = (shared.geometry, shared.epoch, shared.tables.clone());
    let pool = Rc::new(Pool { geometry, epoch, drives, tables, world: sim.world() });
    let sealed = |n| Sealed { id: LogId(n), bytes: PAGE as u32, last: BTreeMap::new(), is_whole: false };
    let logs = Logs::new(pool.clone(), shared.directory.clone());
    let log = Log::new(pool, logs, 0, (1..=old).map(sealed).collect(), segments_max);
    log.begin_shard(ShardId(0), Sequence::first(epoch));
    tokio::task::spawn_local(log.clone().prepare_segments());
    let writer = tokio::task::spawn_local(log.clone().run(Rc::new(Ignore)));
    (log, writer)
}

#[test]
fn a_log_that_begins_full_still_commits() {
    run(async {
        let sim = world(31, 4);
        let (log, _) = log(&sim, 6, 4).await;
        let operations = vec![Operation::Delete { key: b"k".to_vec() }];
        let commit = log.commit(ShardId(0), operations, &[], || Ok::<(), LogError>(()));
        let committed = tokio::time::timeout(Duration::from_secs(60), commit).await;
        assert_eq!(committed.expect("a commit waits for no segment"), Ok(()));
        assert!(log.wants_retiring(), "the old segments are emptied");
    });
}

/// Many may be let in at the same moment, and all they commit finds room, since what would empty a segment commits
/// behind them. A stop in the middle of it waits for nothing but the drives.
#[test]
fn what_was_let_in_is_committed_however_much_it_is() {
    run(async {
        let sim = world(33, 4);
        let (log, writer) = log(&sim, 0, 4).await;
        let delete = || vec![Operation::Delete { key: b"k".to_vec() }];
        let commit = || log.commit(ShardId(0), delete(), &[7; 500_000], || Ok::<(), LogError>(()));
        while log.segments.live() < 3 {
            assert_eq!(commit().await, Ok(()));
        }
        // Two and a half segments' worth.
        let admitted = join_all((0..40).map(|_| log.admit_freeing())).await;
        assert!(admitted.into_iter().all(|admission| admission == Ok(())));
        let commits = join_all((0..40).map(|_| commit()));
        let stop = async {
            tokio::task::yield_now().await;
            log.close();
            log.finish();
        };
        let all = async { tokio::join!(commits, stop).0 };
        let committed = tokio::time::timeout(Duration::from_secs(60), all).await;
        let committed = committed.expect("nobody waits for a segment to be emptied");
        assert!(committed.into_iter().all(|committed| committed == Ok(())));
        let ended = tokio::time::timeout(Duration::from_secs(60), writer).await;
        ended.expect("a stop waits for nothing but the drives").expect("no panic");
    });
}

#[test]
fn the_last_segment_is_for_what_empties_the_others() {
    run(async {
        let sim = world(32, 4);
        let (log, _) = log(&sim, 0, 4).await;
        let commit = || async {
            let operations = vec![Operation::Delete { key: b"k".to_vec() }];
            let commit = log.commit(ShardId(0), operations, &[7; 500_000], || Ok::<(), LogError>(()));
            tokio::time::timeout(Duration::from_secs(60), commit).await
        };
        // Deletes go on where puts wait, but not for ever: nothing is emptied here.
        let mut admitted = 0;
        while let Ok(admission) = tokio::time::timeout(Duration::from_secs(60), log.admit_freeing()).await {
            assert_eq!(admission, Ok(()));
            assert_eq!(commit().await.expect("there is room for what is admitted"), Ok(()));
            admitted += 1;
            assert!(admitted < 10_000, "deletes fill the log to its end");
        }
        let waits = tokio::time::timeout(Duration::from_secs(60), log.admit()).await;
        assert!(waits.is_err(), "records that add bytes waited before");
        for _ in 0..10 {
            assert_eq!(commit().await.expect("what packing commits finds room"), Ok(()));
        }
        assert!(!log.is_full());
        log.admission().set_stuck(true);
        assert!(log.is_full(), "whoever asks whether the server is ready learns of it");
        assert_eq!(
            (log.admit().await, log.admit_freeing().await),
            (Err(LogError::Full), Err(LogError::Full))
        );
    });
}
