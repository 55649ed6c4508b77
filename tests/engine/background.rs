//! Background cores: they reach shards through the inbox of the owner, work that lasts ends when it is told
//! to and rests beside clients unless it is urgent, and nothing that was lent to a job stays lent.
//!
//! The background cores of these tests run on the thread of the data cores, as everything simulated does; what
//! they must not share is `Rc` and would not compile.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use basalt::base::ids::{DriveId, ShardId};
use basalt::base::limits::PAGE;
use basalt::base::metrics::JobKind;
use basalt::drive::device::Area;
use basalt::io::buffer::AlignedBuf;
use basalt::io::sim::{Fault, OpKind, SimWorld};
use basalt::object::content::pins::Held;
use basalt::object::core::Core;
use basalt::object::error::ObjectError;
use basalt::object::tending::pace::{Pace, Urgency};

use crate::harness::{body, fresh_on_cores, paths, request, run, start_on_cores, world};

#[test]
fn a_job_reaches_shards_and_brings_back_what_they_say() {
    run(async {
        let server = start_on_cores(&world(31, 4), &request(4, 2), 2).await.expect("a fresh pool");
        let foreman = server.core().foreman.clone();
        assert!(foreman.is_open());
        let told = foreman.hire(|core: Rc<Core>| async move {
            assert!(core.local(ShardId(1)).is_none(), "a background core owns no shards");
            core.on_shard_whole(ShardId(1), |shard| async move { Ok(shard.id) }).await
        });
        assert_eq!(told.await, Some(Ok(ShardId(1))));
        server.stop().await;
        assert!(!foreman.is_open());
        assert_eq!(foreman.hire(|_| async {}).await, None, "nobody is there any more");
    });
}

#[test]
fn what_was_lent_to_a_job_comes_back_when_nobody_wants_the_answer() {
    run(async {
        let server = start_on_cores(&world(32, 4), &request(4, 2), 3).await.expect("a fresh pool");
        let foreman = server.core().foreman.clone();
        let (begun, wait) = tokio::sync::oneshot::channel();
        let asked = foreman.hire(move |core: Rc<Core>| async move {
            let shard = ShardId(1);
            let peers = core.peers.clone();
            let lent = core.on_shard(shard, move |shard| async move {
                Ok(shard.pins.lend(Held::Extent(7), &peers, shard.id))
            });
            let loan = lent.await.expect("a pin");
            let _ = begun.send(());
            loan
        });
        // Whoever asked goes away while the job has its loan.
        tokio::select! {
            biased;
            told = wait => told.expect("the job runs"),
            _ = asked => panic!("the test polls for the sign first"),
        }
        let shard = server.owner(ShardId(1)).1.clone();
        shard.pins.gone(Held::Extent(7)).await;
        server.stop().await;
    });
}

#[test]
fn work_that_lasts_ends_with_its_core() {
    run(async {
        let server = fresh_on_cores(&world(33, 4), &request(4, 2), 2).await;
        let steps = Arc::new(AtomicU32::new(0));
        let counted = steps.clone();
        let data = server.core().clone();
        let work = move |core: Rc<Core>| async move {
            let pace = Pace::new(&core, JobKind::Merge, Urgency::default());
            loop {
                let looked =
                    core.on_shard_whole(ShardId(1), |shard| async move { Ok(shard.applied()) }).await;
                assert!(matches!(looked, Ok(_) | Err(ObjectError::SlowDown)));
                let drive = core.pool.drives.get(DriveId(0)).expect("the first drive");
                drive.read(Area::Meta, AlignedBuf::zeroed(PAGE), 0).await.expect("a page of it");
                counted.fetch_add(1, Ordering::Relaxed);
                if pace.step(1).await.is_err() {
                    return;
                }
            }
        };
        tokio::task::spawn_local(async move { data.foreman.hire(work).await });
        for n in 0..50 {
            server.put(&format!("k/{n}"), body("k", n, 1000)).await.expect("a put beside it");
        }
        assert!(steps.load(Ordering::Relaxed) > 0);
        let core = server.background[0].core.clone();
        server.stop().await;
        let merges = core.duty.metrics().into_iter().find(|job| job.kind == JobKind::Merge);
        assert_eq!(
            merges.map(|job| (job.jobs, job.bytes)),
            Some((1, u64::from(steps.load(Ordering::Relaxed))))
        );
    });
}

/// Ten steps that wait for a slow drive, with or without clients who ask for something meanwhile.
async fn ten_steps(sim: &SimWorld, data: &Core, core: &Rc<Core>, clients: bool, urgent: bool) -> Duration {
    let urgency = Urgency::default();
    urgency.set(urgent);
    let pace = Pace::new(core, JobKind::Merge, urgency);
    let begun = tokio::time::Instant::now();
    for _ in 0..10 {
        let slow = Fault::Stall(Duration::from_millis(20));
        sim.inject(paths(4)[0].join("basalt.meta"), OpKind::Read, 0, slow);
        let drive = core.pool.drives.get(DriveId(0)).expect("the first drive");
        drive.read(Area::Meta, AlignedBuf::zeroed(PAGE), 0).await.expect("a page of it");
        if clients {
            data.beat();
        }
        pace.step(0).await.expect("the core is not to end");
    }
    begun.elapsed()
}

#[test]
fn work_rests_beside_clients_unless_it_is_urgent() {
    run(async {
        let sim = world(34, 4);
        let server = start_on_cores(&sim, &request(4, 2), 2).await.expect("a fresh pool");
        let (data, core) = (server.core().clone(), server.background[0].core.clone());
        let alone = ten_steps(&sim, &data, &core, false, false).await;
        let urgent = ten_steps(&sim, &data, &core, true, true).await;
        let beside = ten_steps(&sim, &data, &core, true, false).await;
        assert!(beside > alone * 3 / 2, "alone {alone:?}, beside clients {beside:?}");
        assert!(urgent < alone * 3 / 2, "alone {alone:?}, urgent {urgent:?}");
        server.stop().await;
    });
}
