//! The engines: each opens the file its own way and performs one operation at an offset.
//!
//! All of them run their loops as tasks of one thread. Buffers are reused where the engine lets one.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;
use std::sync::Arc;

use basalt::io::buffer::AlignedBuf;
use basalt::io::disk::{Access, File};
use basalt::io::runtime::{self, IoKind};
use basalt::io::world::World;
use glommio::{LocalExecutorBuilder, Placement};
use tokio_uring::buf::BoundedBuf;

use crate::{Job, Kind};

#[derive(Clone, Copy)]
pub enum Engine {
    BasaltUring,
    BasaltThreads,
    TokioUring,
    Glommio,
}

impl Engine {
    pub const ALL: [Engine; 4] =
        [Engine::BasaltUring, Engine::BasaltThreads, Engine::TokioUring, Engine::Glommio];

    pub fn name(self) -> &'static str {
        match self {
            Engine::BasaltUring => "basalt io_uring",
            Engine::BasaltThreads => "basalt threads",
            Engine::TokioUring => "tokio-uring",
            Engine::Glommio => "glommio",
        }
    }

    /// Durations of all operations in nanoseconds, in no order.
    pub fn run(self, job: &Job) -> Vec<u64> {
        match self {
            Engine::BasaltUring => runtime::run(IoKind::Uring, |world| basalt(world, job.clone())),
            Engine::BasaltThreads => runtime::run(IoKind::Threads, |world| basalt(world, job.clone())),
            Engine::TokioUring => tokio_uring::start(bare(job.clone())),
            Engine::Glommio => glommio(job.clone()),
        }
    }
}

async fn basalt(world: World, job: Job) -> Vec<u64> {
    let access = if job.kind == Kind::DurableWrite { Access::DirectSync } else { Access::Direct };
    let file = world.open(&job.path, false, access).expect("the file was just written");
    let loops: Vec<_> =
        (0..job.depth).map(|n| tokio::task::spawn_local(basalt_loop(file.clone(), job.clone(), n))).collect();
    let mut nanos = Vec::new();
    for one in loops {
        nanos.extend(one.await.expect("a loop does not fail"));
    }
    nanos
}

async fn basalt_loop(file: File, job: Job, number: usize) -> Vec<u64> {
    let len = job.kind.bytes();
    if job.kind.is_read() {
        return job
            .drive(number, async |offset| {
                let (result, _buf) = file.read_at(AlignedBuf::uninit_for_read(len), offset).await;
                result.expect("read");
            })
            .await;
    }
    let buf = Arc::new(AlignedBuf::zeroed(len));
    job.drive(number, async |offset| {
        file.write_at(buf.clone(), 0..len, offset).await.expect("write");
        if job.kind == Kind::WriteAndSync {
            file.sync().await.expect("sync");
        }
    })
    .await
}

async fn bare(job: Job) -> Vec<u64> {
    let dsync = if job.kind == Kind::DurableWrite { libc::O_DSYNC } else { 0 };
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT | dsync).open(&job.path);
    let file = Rc::new(tokio_uring::fs::File::from_std(file.expect("the file was just written")));
    let loops: Vec<_> =
        (0..job.depth).map(|n| tokio_uring::spawn(bare_loop(file.clone(), job.clone(), n))).collect();
    let mut nanos = Vec::new();
    for one in loops {
        nanos.extend(one.await.expect("a loop does not fail"));
    }
    nanos
}

async fn bare_loop(file: Rc<tokio_uring::fs::File>, job: Job, number: usize) -> Vec<u64> {
    let len = job.kind.bytes();
    // A vector knows no alignment: the aligned part of a larger one is lent.
    let mut vec = Some(vec![0u8; len + crate::PAGE]);
    job.drive(number, async |offset| {
        let memory = vec.take().expect("put back after each operation");
        let start = memory.as_ptr().align_offset(crate::PAGE);
        let part = memory.slice(start..start + len);
        let (done, part) = match job.kind.is_read() {
            true => file.read_at(part, offset).await,
            false => file.write_at(part, offset).submit().await,
        };
        assert_eq!(done.expect("transfer"), len);
        if job.kind == Kind::WriteAndSync {
            file.sync_data().await.expect("sync");
        }
        vec = Some(part.into_inner());
    })
    .await
}

fn glommio(job: Job) -> Vec<u64> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).spawn(move || async move {
        let dsync = if job.kind == Kind::DurableWrite { libc::O_DSYNC } else { 0 };
        let mut options = glommio::io::OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(dsync).dma_open(&job.path).await;
        let file = Rc::new(file.expect("the file was just written"));
        let loops: Vec<_> = (0..job.depth)
            .map(|n| glommio::spawn_local(glommio_loop(file.clone(), job.clone(), n)))
            .collect();
        let mut nanos = Vec::new();
        for one in loops {
            nanos.extend(one.await);
        }
        file.close_rc().await.expect("close");
        nanos
    });
    executor.expect("glommio starts").join().expect("glommio ends")
}

async fn glommio_loop(file: Rc<glommio::io::DmaFile>, job: Job, number: usize) -> Vec<u64> {
    let len = job.kind.bytes();
    if job.kind.is_read() {
        return job
            .drive(number, async |offset| {
                let read = file.read_at_aligned(offset, len).await.expect("read");
                assert_eq!(read.len(), len);
            })
            .await;
    }
    let mut buf = file.alloc_dma_buffer(len);
    buf.as_bytes_mut().fill(0);
    let buf = Rc::new(buf);
    job.drive(number, async |offset| {
        assert_eq!(file.write_rc_at(buf.clone(), offset).await.expect("write"), len);
        if job.kind == Kind::WriteAndSync {
            file.fdatasync().await.expect("sync");
        }
    })
    .await
}
