//! The one place that configures wasmtime: server, command line, tests and benchmarks all get their engine here.

use std::{sync::Arc, thread, time::Duration};

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Store, UpdateDeadline,
    component::{HasSelf, Linker},
};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::{
    bindings,
    conditions::Conditions,
    files::open_without_waiting,
    limits::{Fault, Guest, MOST_PARTS},
};
use crate::config::{Grants, Limits};

/// How often a running guest is looked at: the precision of its deadline, and how long it may keep others from its thread.
const TICK: Duration = Duration::from_millis(5);
/// What the host waits beyond a guest's deadline before it drops a call that sleeps inside the host and so never sees a tick.
const SLACK: Duration = Duration::from_millis(20);
/// How many times a decision's time a policy may take to be configured and frozen.
const LOAD_FACTOR: u32 = 10;
/// Stack of the fiber a guest runs on, beyond what the guest itself may use: room for the host functions it calls.
const HOST_STACK: usize = 256 * 1024;

/// Instances that may live at one time: one for each policy of a decision in progress, and one for each filter of each stream that
/// met what it looks for. Each reserves 4 GiB of addresses, of which a process has 128 TiB; what is not touched takes no memory.
const MOST_INSTANCES: u32 = 4096;
/// Core instances and tables for each of them, on average: components made by the usual tools have one or two of their own, beside
/// adapters; those of dynamic languages have some twenty.
const FEW_PARTS: u32 = 8;
/// Most bytes of what the engine itself keeps for an instance.
const MOST_CONTEXT_BYTES: usize = 4 << 20;
/// Bytes of addresses that are reserved for a memory, whatever of them may be used.
const MOST_MEMORY_BYTES: usize = 4 << 30;
/// Places that stay as they are when their instance is gone, for the next of the same policy.
const WARM_PLACES: u32 = 64;
/// Bytes of changed memory that are put back in place when an instance is gone; what goes beyond is given back to the system, and
/// page after page is fetched from there again. As much as a script of 64 KiB of ordinary commands changes.
const KEPT_BYTES: usize = 4 << 20;
/// The same where the kernel does not tell which pages were changed: then all of them are put back, after the shortest script too.
const KEPT_BYTES_UNTOLD: usize = 1 << 20;
/// The same for tables.
const KEPT_TABLE_BYTES: usize = 64 << 10;

/// A configured wasmtime with the limits every guest gets. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    linker: Arc<Linker<Guest>>,
    limits: Limits,
    conditions: Conditions,
}

impl Engine {
    /// Builds the engine and starts its ticker, a thread that ends with the engine.
    pub fn new(limits: &Limits) -> Result<Self, EngineError> {
        Self::under(limits, Conditions::default())
    }

    /// The same under other conditions than those of production.
    pub fn under(limits: &Limits, conditions: Conditions) -> Result<Self, EngineError> {
        let inner = wasmtime::Engine::new(&configuration(limits)).map_err(EngineError::Configure)?;
        start_ticker(&inner).map_err(EngineError::Ticker)?;
        let mut linker = Linker::new(&inner);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(EngineError::Configure)?;
        open_without_waiting(&mut linker).map_err(EngineError::Configure)?;
        bindings::log::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest).map_err(EngineError::Configure)?;
        bindings::types::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest).map_err(EngineError::Configure)?;
        Ok(Self { inner, linker: Arc::new(linker), limits: limits.clone(), conditions })
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn linker(&self) -> &Linker<Guest> {
        &self.linker
    }

    pub(super) fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// A store with all limits on and nothing in its WASI but the granted variables. There is no other way to make one.
    pub(super) fn store(&self, grants: &Grants) -> Store<Guest> {
        let mut store = Store::new(&self.inner, Guest::new(&self.limits, self.wasi(grants)));
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(self.limits.hostcall_bytes);
        store.epoch_deadline_callback(|context| {
            let guest = context.data();
            if guest.is_late() { Err(guest.late().into()) } else { Ok(UpdateDeadline::Yield(1)) }
        });
        store
    }

    /// Granted variables, and nothing else.
    fn wasi(&self, grants: &Grants) -> WasiCtxBuilder {
        let mut wasi = without_powers();
        for name in &grants.env {
            if let Ok(value) = self.conditions.variable(name) {
                wasi.env(name, value);
            }
        }
        self.conditions.world.furnish(&mut wasi);
        wasi
    }

    /// Opens the granted directories to a guest that is configured. Not before: what `configure` leaves behind is kept, in a cache
    /// that knows nothing of files, so it must not depend on any.
    pub(super) fn open_directories(&self, store: &mut Store<Guest>, grants: &Grants) -> Result<(), Fault> {
        if grants.read.is_empty() {
            return Ok(());
        }
        let mut wasi = self.wasi(grants);
        // Files are small and local, and handing each call to another thread costs more than the call: on a busy machine a hundred
        // times as much.
        wasi.allow_blocking_current_thread(true);
        for directory in &grants.read {
            let denied = |error| Fault::Grant(format!("{}: {error}", directory.display()));
            wasi.preopened_dir(directory, directory.to_string_lossy(), FsPerms::ReadOnly).map_err(denied)?;
        }
        store.data_mut().replace_wasi(wasi);
        Ok(())
    }

    /// Runs one call into a guest under the deadline of a decision: `call` gets the store and makes the call.
    pub(super) async fn bounded<R>(
        &self,
        store: &mut Store<Guest>,
        call: impl AsyncFnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        self.bounded_by(self.limits.decision, store, call).await
    }

    /// The same for what is done once, at load, and may take longer.
    pub(super) async fn bounded_at_load<R>(
        &self,
        store: &mut Store<Guest>,
        call: impl AsyncFnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        self.bounded_by(self.limits.decision * LOAD_FACTOR, store, call).await
    }

    async fn bounded_by<R>(
        &self,
        patience: Duration,
        store: &mut Store<Guest>,
        call: impl AsyncFnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        store.data_mut().begin(patience);
        store.set_epoch_deadline(1);
        match tokio::time::timeout(patience + SLACK, call(store)).await {
            Ok(answer) => answer.map_err(|error| Fault::of(&error)),
            Err(_) => Err(store.data().late()),
        }
    }
}

/// What can go wrong with the engine itself.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refused the configuration, such as on a processor that it does not support.
    #[error("could not set up the WebAssembly engine")]
    Configure(#[source] wasmtime::Error),
    /// No thread could be started.
    #[error("could not start the thread that watches the policies' time")]
    Ticker(#[source] std::io::Error),
}

fn configuration(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack_bytes)
        .async_stack_size(limits.stack_bytes + HOST_STACK)
        // Nothing of the asynchronous component model is used, and leaving it out makes calls cheaper.
        .concurrency_support(false)
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    config
}

/// Places for instances, reserved once and used again and again: a fresh instance then costs no calls to the system and no faults
/// for pages that the one before it had too. wasmtime puts a place back to what it was before another instance gets it.
fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let parts = MOST_INSTANCES * FEW_PARTS;
    let kept = if PoolingAllocationConfig::is_pagemap_scan_available() { KEPT_BYTES } else { KEPT_BYTES_UNTOLD };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(MOST_INSTANCES)
        .total_memories(MOST_INSTANCES)
        .total_stacks(MOST_INSTANCES)
        .total_core_instances(parts)
        .total_tables(parts)
        .max_core_instances_per_component(MOST_PARTS)
        .max_memories_per_component(MOST_PARTS)
        .max_tables_per_component(MOST_PARTS)
        .max_core_instance_size(MOST_CONTEXT_BYTES)
        .max_component_instance_size(MOST_CONTEXT_BYTES)
        // What a policy may use of them is for the limits of each to say.
        .max_memory_size(MOST_MEMORY_BYTES)
        // And there is room for those of portcullis' own parser.
        .table_elements(limits.table_elements.max(Limits::built_in().table_elements))
        .max_unused_warm_slots(WARM_PLACES)
        .linear_memory_keep_resident(kept)
        .table_keep_resident(KEPT_TABLE_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// The builder starts with closed standard streams, no variables, no directories, no network.
fn without_powers() -> WasiCtxBuilder {
    let mut wasi = WasiCtxBuilder::new();
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    wasi
}

fn start_ticker(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    thread::Builder::new().name("policy-ticker".to_owned()).spawn(move || {
        loop {
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    })?;
    Ok(())
}
