//! Every limit of the host in one place, each with its reason. What an operator may change is in `ComponentSettings`.

use std::time::Duration;
use weir_model::entity::ComponentSettings;

/// Time since the host started, in ticks.
pub type Ticks = u64;

/// How often running guests are looked at. A tick costs about 28 us of CPU: at 10 ms that is 0.3 % of a core.
pub const TICK: Duration = Duration::from_millis(10);

/// Ticks in a second.
pub const TICKS_A_SECOND: Ticks = 100;

/// Bytes of an uploaded component: JavaScript and Python ones, which carry their interpreter, take 12 to 19 MiB.
pub const COMPONENT_BYTES: usize = 32 << 20;

/// Bytes of compiled code that the host reads from its compiler: about four times the component.
pub const COMPILED_BYTES: usize = 256 << 20;

/// CPU time that the compiling child may use: a Python component takes some 15 s.
pub const COMPILE_CPU: Duration = Duration::from_secs(120);

/// Wall time after which the child is ended: its CPU limit, on a machine that is four times overbooked.
pub const COMPILE_WALL: Duration = Duration::from_secs(480);

/// Address space of the child: the largest allowed component needs about 2 GiB, allocators reserve the rest.
pub const COMPILE_ADDRESS_SPACE: u64 = 8 << 30;

/// How many levels the child yields to the threads that serve.
pub const COMPILE_NICE: i32 = 10;

/// Files in the cache of compiled code; the oldest go first. At some 200 KiB each for Rust plugins this is 100 MiB.
pub const CACHED_FILES: usize = 512;

/// Memory that an operator may give to an instance at most, and the least that makes sense (a Rust guest starts with 1.1 MiB).
pub const MEMORY_BUDGET: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// CPU time that an operator may give to a call at most: while it runs, its worker serves nobody else.
pub const CPU_BUDGET_MS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// CPU time for looking at a component or a configuration when it is written: nobody waits for it on a worker, and it must be
/// enough for an interpreter's first start.
pub const SCRATCH_CPU_MS: u64 = 5_000;

/// Instances are replaced when their memory has grown past this share of the budget, in quarters: leaks of interpreters end in a
/// clean change between two calls, not in a killed one.
pub const RETIRE_MEMORY_QUARTERS: usize = 3;

/// Instances are replaced after so many calls, which bounds what else may pile up in them. At 20 us a replacement it costs
/// nothing.
pub const RETIRE_CALLS: u64 = 1_000_000;

/// Configurations that were not used for this long are released in the guest.
pub const IDLE_CONFIGURATION: Ticks = 600 * TICKS_A_SECOND;

/// Instances of `per_configuration` components that one worker keeps; the least recently used goes. At 2 MiB each: 512 MiB.
pub const ISOLATED_INSTANCES: usize = 256;

/// Bytes that the guest may hand over in one crossing: a reply at its limits has 0.9 MiB.
pub const CROSSING_BYTES: usize = 2 << 20;

/// Stack of the guest. Interpreters recurse deeply; a worker thread has 2 MiB.
pub const GUEST_STACK: usize = 512 << 10;

/// Elements of a guest's tables: JavaScript needs 7,702, Python 5,684.
pub const TABLE_ELEMENTS: usize = 20_000;

/// Frames in the message of a trap.
pub const BACKTRACE_FRAMES: usize = 8;

/// A header's name, as in the interface.
pub const HEADER_NAME_BYTES: usize = 128;

/// A header's value, as in the interface.
pub const HEADER_VALUE_BYTES: usize = 8 << 10;

/// Headers a head, and header writes that wait for a response, as in the interface.
pub const HEADERS: usize = 100;

/// Prepared header edits of one configuration, as in the interface: ten times what a head can have, and each call makes all of a
/// list.
pub const PREPARED_EDITS: usize = 1_000;

/// Bytes of names and values in all that a configuration prepares, as in the interface: they are the host's memory, which the
/// guest's own limit does not see.
pub const PREPARED_BYTES: usize = 256 << 10;

/// Prepared look-ups of one configuration, as in the interface: a plugin that takes keys has a few names for their header.
pub const PREPARED_LOOKUPS: usize = 32;

/// Prepared rules of one configuration, as in the interface: one is usual.
pub const PREPARED_RULES: usize = 8;

/// Announcements of one rule, as in the interface: two for each of six windows, and three for the tightest.
pub const ANNOUNCEMENTS: usize = 20;

/// Steps before one phase, as in the interface. No guest's budget bounds them, so they must be few.
pub const STEPS: usize = 16;

/// Edits in the steps before one phase, as in the interface, each list as often as it is named. At their slowest (renames among a
/// hundred headers) they take a millisecond or two; what is more is the guest's to call for, within its budget.
pub const STEP_EDITS: usize = 200;

/// Header names that an instance remembers in their parsed form: what a plugin writes is usually a handful, in every call.
pub const KNOWN_NAMES: usize = 16;

/// The body of a plugin's reply, as in the interface.
pub const REPLY_BODY_BYTES: usize = 64 << 10;

/// Path and query together, as in the interface.
pub const TARGET_BYTES: usize = 8 << 10;

/// A method, as in the interface.
pub const METHOD_BYTES: usize = 32;

/// What an entry keeps between phases, as in the interface.
pub const KEPT_BYTES: usize = 16 << 10;

/// Random bytes a call, as in the interface.
pub const RANDOM_BYTES: u32 = 1 << 10;

/// Random bytes a call through WASI: Python's generator takes 2.5 KiB when it starts.
pub const WASI_RANDOM_BYTES: u64 = 64 << 10;

/// The key of a credential, as in the interface.
pub const CREDENTIAL_KEY_BYTES: usize = 8 << 10;

/// Credentials that may be found in one exchange: one or two are usual; a plugin that tries keys is not.
pub const FOUND_CREDENTIALS: usize = 32;

/// Bytes of a header's value that a rule tells callers apart by, as in the interface.
pub const SUBJECT_BYTES: usize = 1_000;

/// The key of a counter, as in the interface.
pub const COUNTER_KEY_BYTES: usize = 1 << 10;

/// Bytes of a log line, as in the interface.
pub const LOG_LINE_BYTES: usize = 1 << 10;

/// Log lines in one call, as in the interface.
pub const LOG_LINES: u32 = 16;

/// Log lines of one instance in a second: 16 a call at 20,000 calls a second would fill a disk.
pub const LOG_LINES_A_SECOND: u32 = 1_000;

/// Lines about failures of one plugin within ten seconds; the rest are counted.
pub const FAILURE_LINES: u32 = 20;

/// What is shown of a plugin's own error in the log.
pub const ERROR_BYTES: usize = 1 << 10;

/// What is shown to the operator of why a configuration was refused.
pub const CONFIGURE_ERROR_BYTES: usize = 16 << 10;

/// The manifest, as in the interface.
pub const MANIFEST_BYTES: usize = 256 << 10;

/// A configuration, as in the interface.
pub const CONFIG_BYTES: usize = 1 << 20;

/// The budgets of a call, from the settings of its component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub cpu: Duration,
    pub memory: usize,
    pub host_calls: u64,
    pub host_bytes: u64,
}

impl Budget {
    /// What the settings say, within what the host can give.
    pub fn of(settings: &ComponentSettings) -> Self {
        let cpu = settings.cpu_budget_ms.clamp(*CPU_BUDGET_MS.start(), *CPU_BUDGET_MS.end());
        let memory = settings.memory_budget_bytes.clamp(*MEMORY_BUDGET.start(), *MEMORY_BUDGET.end());
        Self {
            cpu: Duration::from_millis(cpu),
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            host_calls: settings.host_calls_budget,
            host_bytes: settings.host_bytes_budget,
        }
    }
    /// For looking at a component or a configuration when it is written.
    pub fn scratch(settings: &ComponentSettings) -> Self {
        let usual = Self::of(settings);
        Self { cpu: usual.cpu.max(Duration::from_millis(SCRATCH_CPU_MS)), ..usual }
    }
}
