//! Settings of buckets through power cuts: what was acknowledged holds after the next start, whole,
//! and a bucket that is made anew has none of what the one before it was set to.
//!
//! Where the power fails while a setting is being stored, the bucket has the old one or the new one.

use basalt::codec::xml::{ObjectLock, ObjectOwnership, Tags, Versioning};
use basalt::object::error::ObjectError;
use basalt::object::registry::settings::{BucketSettings, Kind, Setting};

use crate::harness::{BUCKET, Chance, Server, fresh_on, request, run, start, world};

/// What all cores say, which must be the same.
fn found(server: &Server) -> BucketSettings {
    let each =
        server.cores.iter().map(|_| (*server.store().settings(BUCKET).expect("the bucket").settings).clone());
    let each: Vec<BucketSettings> = each.collect();
    assert!(each.iter().all(|settings| *settings == each[0]), "{each:?}");
    each[0].clone()
}

#[test]
fn settings_are_those_of_one_bucket_for_its_whole_life() {
    run(async {
        let sim = world(1, 4);
        let server = start(&sim, &request(4, 2)).await.expect("a fresh pool");
        let initial =
            vec![Setting::Versioning(Versioning::Enabled), Setting::ObjectLock(ObjectLock::default())];
        server.store().create_bucket_with(BUCKET, "r", "o", initial).await.expect("a bucket");
        let set = |setting| server.store().set_setting(BUCKET, setting);
        let suspended = set(Setting::Versioning(Versioning::Suspended)).await;
        assert!(matches!(suspended, Err(ObjectError::InvalidBucketState(_))));
        set(Setting::Ownership(ObjectOwnership::ObjectWriter)).await.expect("a setting");
        server.store().remove_setting(BUCKET, Kind::Tags).await.expect("what is not set can be removed");
        let expected = found(&server);
        sim.crash();
        drop(server);
        let server = start(&sim, &request(4, 2)).await.expect("the same pool");
        assert_eq!(found(&server), expected);
        server.store().delete_bucket(BUCKET).await.expect("it is empty");
        assert_eq!(server.store().remove_setting(BUCKET, Kind::Acl).await, Err(ObjectError::NoSuchBucket));
        server.store().create_bucket(BUCKET, "r", "o").await.expect("the name is free");
        assert_eq!(found(&server), BucketSettings::default());
        server.stop().await;
        let server = start(&sim, &request(4, 2)).await.expect("the same pool");
        assert_eq!(found(&server), BucketSettings::default());
        server.stop().await;
    });
}

#[test]
fn a_cut_leaves_the_old_setting_or_the_new() {
    for seed in 1..=20u64 {
        run(async move { cut_while_tagging(seed).await });
    }
}

async fn cut_while_tagging(seed: u64) {
    let (sim, request) = (world(seed, 4), request(4, 2));
    let server = fresh_on(&sim, &request).await;
    let mut chance = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1) | 1);
    sim.crash_at_write(chance.below(40));
    let (mut acknowledged, mut under_way) = (None, None);
    for turn in 0u32.. {
        let tags = Tags(vec![("turn".into(), turn.to_string()); 40]);
        under_way = Some(tags.clone());
        let set = server.store().set_setting(BUCKET, Setting::Tags(tags));
        match tokio::time::timeout(std::time::Duration::from_secs(60), set).await {
            Ok(Ok(())) => acknowledged = under_way.take(),
            _ => break,
        }
    }
    assert!(sim.is_cut());
    sim.crash();
    drop(server);
    let server = start(&sim, &request).await.expect("it starts after the cut");
    let tags = found(&server).tags;
    assert!(tags == acknowledged || tags == under_way, "seed {seed}: {tags:?}");
    server.stop().await;
}
