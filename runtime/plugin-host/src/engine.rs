//! The wasm engines: one configuration of the compiler, two pools of instances, and the thread that makes time pass in them.
//!
//! Small slots are for plugins as Rust and C compile to; large ones for components that carry an interpreter (dozens of core
//! modules, tables of thousands of elements). A component goes where it fits. Knows nothing of what the components do.

use crate::bindings::{EveryPhase, LinkOptions};
use crate::error::HostError;
use crate::limits::*;
use crate::settings::HostSettings;
use crate::shared::Shared;
use crate::state::State;
use std::num::NonZeroUsize;
use std::sync::Arc;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy};

/// Instances of replaced components stay until their exchanges end and each worker has looked: two versions of everything fit.
const VERSIONS_AT_ONCE: u32 = 2;

/// Instances beside the workers': for looking at components and configurations.
const SCRATCH_INSTANCES: u32 = 64;

/// Slots of the small pool at most. Each reserves 4 GiB of address space: 48 of the 128 TiB that a process has.
const SMALL_SLOTS: u32 = 12_000;

/// Interpreted components that fit at once, for each worker: they are rare and heavy.
const LARGE_COMPONENTS: u32 = 32;

/// Slots of the large pool at most.
const LARGE_SLOTS: u32 = 2_000;

/// What a slot of a pool holds at most.
struct Slot {
    count: u32,
    core_instances: u32,
    memories: u32,
    tables: u32,
    table_elements: usize,
    keep_resident: usize,
}

/// An engine and the host functions for it.
pub struct Pool {
    pub engine: Engine,
    /// The interfaces of `weir:plugin`; what a component imports of WASI is added for each.
    pub linker: Linker<State>,
}

/// Both pools.
pub struct Pools {
    pub small: Pool,
    pub large: Pool,
}

impl Pools {
    pub fn new(settings: &HostSettings) -> Result<Self, HostError> {
        let workers = u32::try_from(settings.workers).unwrap_or(u32::MAX);
        let per_worker = settings.max_components.saturating_mul(VERSIONS_AT_ONCE).saturating_add(ISOLATED_INSTANCES as u32);
        let count = |per_worker: u32, most| workers.saturating_mul(per_worker).saturating_add(SCRATCH_INSTANCES).min(most);
        let small = Slot {
            count: count(per_worker, SMALL_SLOTS),
            core_instances: 8,
            memories: 1,
            tables: 4,
            table_elements: 4_096,
            // What a Rust guest touches; resetting it by copying is cheaper than faulting it in again.
            keep_resident: 256 << 10,
        };
        let large = Slot {
            count: count(LARGE_COMPONENTS * VERSIONS_AT_ONCE, LARGE_SLOTS),
            core_instances: 128,
            memories: 2,
            tables: 16,
            table_elements: TABLE_ELEMENTS,
            keep_resident: 1 << 20,
        };
        Ok(Self { small: Pool::new(&small)?, large: Pool::new(&large)? })
    }
}

impl Pool {
    fn new(slot: &Slot) -> Result<Self, HostError> {
        let mut config = compiler_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(slot)));
        let refused = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = Engine::new(&config).map_err(refused)?;
        let mut linker = Linker::new(&engine);
        // No unstable feature is on: what is gated in the interface is not linked.
        let options = LinkOptions::default();
        EveryPhase::add_to_linker::<State, HasSelf<State>>(&mut linker, &options, |state| state).map_err(refused)?;
        Ok(Self { engine, linker })
    }
}

/// Everything that decides about machine code: the same in the compiling child, which has no pool.
pub fn compiler_config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // Calls are synchronous; the machinery for concurrent ones would triple their price.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES))
        // Proposals that no plugin needs are surface only.
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    config
}

fn pooling(slot: &Slot) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slot.count)
        .total_core_instances(slot.count.saturating_mul(slot.core_instances))
        .total_memories(slot.count.saturating_mul(slot.memories))
        .total_tables(slot.count.saturating_mul(slot.tables))
        .max_core_instances_per_component(slot.core_instances)
        .max_memories_per_component(slot.memories)
        .max_tables_per_component(slot.tables)
        .table_elements(slot.table_elements)
        .max_memory_size(usize::try_from(*MEMORY_BUDGET.end()).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(slot.keep_resident)
        .table_keep_resident(16 << 10)
        // In wasmtime 48 the scan can miss a page that was swapped out: the next instance would read the last one's bytes.
        .pagemap_scan(Enabled::No);
    pool
}

/// Starts the thread that moves both engines' epochs, which is what lets a running guest be looked at. It ends with the host.
pub fn start_ticker(pools: &Pools, shared: &Arc<Shared>) -> Result<(), HostError> {
    let engines: [EngineWeak; 2] = [pools.small.engine.weak(), pools.large.engine.weak()];
    let shared = Arc::downgrade(shared);
    let run = move || {
        loop {
            std::thread::sleep(TICK);
            let Some(shared) = shared.upgrade() else { return };
            let tick = shared.tick();
            for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                engine.increment_epoch();
            }
            shared.sweep(tick);
        }
    };
    std::thread::Builder::new().name("weir-ticker".into()).spawn(run).map(drop).map_err(HostError::Ticker)
}
