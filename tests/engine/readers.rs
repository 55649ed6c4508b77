//! Readers that are slow, and what is deleted, overwritten or freed beside them.
//!
//! A client that takes its time keeps the bytes it reads and nothing else: neither the log nor the space of
//! others waits for it. What it reads it reads to the end, whatever becomes of the object, and then the space
//! comes back, once.

use std::time::Duration;

use basalt::object::content::reader::ObjectStream;
use basalt::object::meta::ETag;
use basalt::object::store::{Complete, NewUpload, PartClaim};
use bytes::Bytes;

use crate::harness::{BUCKET, Server, body, fresh_on, request, run, start, until, world};

const PART: usize = 5 << 20;

async fn fresh(seed: u64) -> (basalt::io::sim::SimWorld, Server) {
    let sim = world(seed, 4);
    let server = fresh_on(&sim, &request(4, 2)).await;
    (sim, server)
}

impl Server {
    async fn begin_reading(&self, key: &str) -> (ObjectStream, Vec<u8>) {
        let object = self.store().open(BUCKET, key).await.expect("it is there");
        let size = object.meta().size;
        let mut stream = object.stream(0..size);
        let first = stream.next().await.expect("a piece").expect("it can be read");
        (stream, first.to_vec())
    }

    /// Uploads parts and gives what completing them takes.
    async fn upload(&self, key: &str, parts: &[Bytes]) -> (String, Vec<PartClaim>) {
        let upload = self.store().create_upload(BUCKET, key, NewUpload::default()).await.expect("an upload");
        let mut claims = Vec::new();
        for (part, number) in parts.iter().zip(1..) {
            let size = Some(part.len() as u64);
            let mut writer = self
                .store()
                .upload_part(BUCKET, key, &upload.upload_id, number, size)
                .await
                .expect("a writer");
            writer.write(part.clone()).await.expect("its bytes");
            writer.commit_part(ETag::default(), None).await.expect("a part");
            let etag = ETag::default().quoted().to_owned();
            claims.push(PartClaim { number, etag, checksum: None });
        }
        (upload.upload_id, claims)
    }

    async fn complete(&self, key: &str, upload: &str, parts: Vec<PartClaim>) {
        let complete = Complete { parts, ..Complete::default() };
        self.store().complete_upload(BUCKET, key, upload, complete).await.expect("a completion");
    }

    async fn put_multipart(&self, key: &str, parts: &[Bytes]) {
        let (upload, claims) = self.upload(key, parts).await;
        self.complete(key, &upload, claims).await;
    }

    fn committed_bytes(&self) -> u64 {
        let drives = self.core().pool.drives.iter().map(|drive| drive.id());
        let shards = || self.shards();
        drives.map(|drive| shards().map(|shard| shard.space.committed_bytes(drive)).sum::<u64>()).sum()
    }

    fn records(&self) -> u64 {
        self.cores.iter().map(|running| running.log.counters.snapshot().records).sum()
    }

    fn waiting(&self) -> usize {
        self.shards().map(|shard| shard.pins.waiting()).sum()
    }

    async fn until_committed(&self, bytes: u64) {
        until("space to come back", || self.committed_bytes() == bytes).await;
    }
}

async fn read_on(mut stream: ObjectStream, mut read: Vec<u8>) -> Vec<u8> {
    while let Some(piece) = stream.next().await {
        read.extend_from_slice(&piece.expect("it can be read to the end"));
    }
    read
}

#[test]
fn a_slow_reader_does_not_hold_up_the_log() {
    run(async {
        let (_sim, server) = fresh(41).await;
        let large = body("large", 1, 2_200_000);
        server.put("large", large.clone()).await.expect("a put");
        let (stream, first) = server.begin_reading("large").await;
        let puts = async {
            for number in 0..12_000u64 {
                let key = format!("small/{number}");
                server.put(&key, body(&key, number, 16_000)).await.expect("a put");
                server.delete(&key).await.expect("a delete");
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(3600), puts).await;
        assert!(in_time.is_ok(), "writes wait for a reader of another object");
        assert!(read_on(stream, first).await == large);
        server.owned().await;
        server.stop().await;
    });
}

#[test]
fn a_slow_reader_keeps_only_what_it_reads() {
    run(async {
        let (_sim, server) = fresh(42).await;
        let large = body("large", 1, 2_200_000);
        server.put("large", large.clone()).await.expect("a put");
        let (stream, first) = server.begin_reading("large").await;
        for number in 0..20 {
            let key = format!("other/{number}");
            server.put(&key, body(&key, 1, 100_000)).await.expect("a put");
            server.delete(&key).await.expect("a delete");
        }
        assert_eq!(server.waiting(), 0, "space of others waits for the reader");
        server.delete("large").await.expect("a delete");
        assert_eq!(server.waiting(), 1, "what is read stays");
        assert!(read_on(stream, first).await == large);
        until("it is freed behind its last reader", || server.waiting() == 0).await;
        server.owned().await;
        server.stop().await;
    });
}

#[test]
fn a_multipart_object_is_read_to_its_end_while_it_is_deleted() {
    run(async {
        let (_sim, server) = fresh(43).await;
        let empty = server.committed_bytes();
        let parts: Vec<Bytes> = (0..3).map(|number| body("parts", number, PART)).collect();
        server.put_multipart("parts", &parts).await;
        let (stream, first) = server.begin_reading("parts").await;
        server.delete("parts").await.expect("a delete");
        // Another one is deleted behind it and freed meanwhile.
        let with_parts = server.committed_bytes();
        server.put_multipart("other", &parts[..1]).await;
        server.delete("other").await.expect("a delete");
        server.until_committed(with_parts).await;
        assert!(read_on(stream, first).await == parts.concat());
        server.until_committed(empty).await;
        server.owned().await;
        server.stop().await;
    });
}

#[test]
fn an_overwritten_multipart_object_gives_its_space_back() {
    run(async {
        let (_sim, server) = fresh(44).await;
        let empty = server.committed_bytes();
        server.put_multipart("key", &[body("key", 1, PART)]).await;
        assert!(server.committed_bytes() > empty);
        server.put("key", body("key", 2, 10)).await.expect("a put");
        server.until_committed(empty).await;
        server.owned().await;
        server.stop().await;
    });
}

#[test]
fn parts_that_were_not_used_are_freed_once() {
    run(async {
        let (sim, server) = fresh(45).await;
        let (empty, before) = (server.committed_bytes(), server.records());
        for round in 0..4 {
            let key = format!("key/{round}");
            let parts: Vec<Bytes> = (0..150).map(|number| body(&key, number, 1000)).collect();
            let (upload, claims) = server.upload(&key, &parts).await;
            let completing = server.complete(&key, &upload, claims[..1].to_vec());
            let deleting = async {
                let mut often = tokio::time::interval(Duration::from_micros(50));
                while server.get(&key).await.expect("an answer").is_none() {
                    often.tick().await;
                }
                server.delete(&key).await.expect("a delete");
            };
            tokio::join!(completing, deleting);
        }
        server.until_committed(empty).await;
        // Each round: the upload, its parts, the completion, the deletion, and each part freed once, then
        // the note of them, which may still be on its way.
        let records = server.records() - before;
        assert!((4 * (1 + 150 + 1 + 1 + 150)..=4 * 304).contains(&records), "{records} records");
        server.put("after", body("after", 1, 100_000)).await.expect("a put");
        server.stop().await;
        let server = start(&sim, &request(4, 2)).await.expect("the same pool");
        assert_eq!(server.get("after").await, Ok(Some(body("after", 1, 100_000))));
        server.owned().await;
        server.stop().await;
    });
}
