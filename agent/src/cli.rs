//! What was typed.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Watches the APIs of a host from its kernel.
///
/// apiscope sees the HTTP requests and responses of the processes that you choose,
/// plaintext and TLS, without changing them: it learns the endpoints, their schemas
/// and who calls them, and finds weaknesses.
#[derive(Debug, Parser)]
#[command(name = "apiscope", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples:
  apiscope run -- python3 app.py        start a program and watch it and its children
  apiscope run --pid 4242               watch a process that runs, and its children
  apiscope run --comm nginx -o json     one JSON object per call, for other tools
  apiscope inventory                    the endpoints that were seen
  apiscope openapi --service app:8080   the OpenAPI document of a service
  apiscope doctor                       what this kernel and these privileges allow

State is kept in /var/lib/apiscope, or where --state says.
Log lines go to standard error; RUST_LOG sets what is logged.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe processes and report their API calls.
    Run(RunArgs),
    /// Observe processes and write what the kernel reports to a file.
    ///
    /// The file holds raw payloads, credentials among them: it is made readable to
    /// you alone, and is yours to guard. `apiscope replay` reads it.
    Record(RecordArgs),
    /// Run a recording or a HAR file through the same stages, without privileges.
    Replay(ReplayArgs),
    /// List the services and endpoints that were seen.
    Inventory(ReadArgs),
    /// List the findings.
    Findings(ReadArgs),
    /// Write the OpenAPI 3.1 document of a service.
    Openapi(OpenapiArgs),
    /// Tell what this kernel and these privileges allow, and what is captured of the
    /// processes in scope.
    Doctor(DoctorArgs),
}

/// Whom to observe. At least one; several add up.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Scope")]
pub struct ScopeArgs {
    /// Observe this process; may be given several times.
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Observe every process under this cgroup (version 2), e.g. /system.slice/app.service.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Observe processes of this task name; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,
    /// Observe processes that run this program; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub exe: Vec<PathBuf>,
    /// Observe every process of the host. Never implied by anything else.
    #[arg(long)]
    pub all: bool,
    /// Only the processes named, not those that they start.
    #[arg(long)]
    pub no_follow: bool,
    /// Start this command and observe it from its first instruction. The run ends
    /// with it, with its exit status.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// How to capture.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Capture")]
pub struct CaptureArgs {
    /// How records come from the kernel.
    #[arg(long, value_enum, default_value_t = TransportArg::Auto)]
    pub transport: TransportArg,
    /// What shows the bytes that sockets move.
    #[arg(long, value_enum, default_value_t = SocketBackendArg::Auto,
          env = "APISCOPE_SOCKET_BACKEND")]
    pub socket_backend: SocketBackendArg,
    /// Bytes of one message that are captured at most; the rest is counted.
    #[arg(long, value_name = "BYTES", default_value_t = agent_common::limits::MESSAGE_BUDGET,
          value_parser = clap::value_parser!(u32).range(256..=16 << 20))]
    pub message_budget: u32,
    /// Size of the buffer between kernel and agent, in MiB (a power of two).
    #[arg(long, value_name = "MIB", default_value_t = 8,
          value_parser = parse_power_of_two)]
    pub buffer: u32,
    /// Keep all privileges and system calls for the whole run, to see whether giving
    /// them up is what a problem comes from.
    ///
    /// Otherwise the agent, once everything is opened, drops the capabilities that it
    /// does not need any more, forbids itself to write anywhere but in its state, and
    /// refuses to itself the system calls that it never makes. A command after -- keeps
    /// what apiscope was started with.
    #[arg(long)]
    pub no_confine: bool,
    /// Put no return probes into TLS libraries, but probes where their functions return, as
    /// is done unasked on kernels that may kill a process for a return probe.
    ///
    /// It costs about twice as much, and leaves libraries alone whose returns cannot be
    /// found in their code.
    #[arg(long)]
    pub no_return_probes: bool,
    /// Attach programs that do nothing, to measure what attaching costs.
    #[arg(long, hide = true)]
    pub empty_programs: bool,
}

/// `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Whom to observe.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// What to print.
    #[command(flatten)]
    pub print: PrintArgs,
    /// Processor time that capture may take, in cores, of the agent and of the kernel
    /// programs together; off for no limit.
    ///
    /// When it takes more, less is captured of the programs that cost more than their fair
    /// share: first no bodies, then no header fields. Calls are always counted, and what is
    /// shed is said.
    #[arg(long, value_name = "CORES", default_value = "0.5", env = "APISCOPE_CPU_BUDGET")]
    pub cpu_budget: CpuBudget,
    /// Serve /metrics, /healthz and /readyz on this address, e.g. 127.0.0.1:9464.
    #[arg(long, value_name = "ADDRESS", env = "APISCOPE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Stop after this many seconds; a command is asked to end, by SIGTERM.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=DURATION_MAX))]
    pub duration: Option<u64>,
}

/// Cores that capture may take; `None` without a limit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CpuBudget(pub Option<f64>);

impl FromStr for CpuBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let cores = text.parse().ok().filter(|cores| CPU_BUDGETS.contains(cores));
        cores.map(|cores| Self(Some(cores))).ok_or_else(|| {
            let (least, most) = (CPU_BUDGETS.start(), CPU_BUDGETS.end());
            format!("neither a number of cores from {least} to {most}, nor off")
        })
    }
}

/// CPU budgets that make sense: an idle agent takes less.
const CPU_BUDGETS: RangeInclusive<f64> = 0.01..=1024.0;

/// What to print and keep.
#[derive(Args, Clone, Debug)]
pub struct PrintArgs {
    /// What to print on standard output.
    #[arg(long, short, value_enum, default_value_t = OutputArg::Auto)]
    pub output: OutputArg,
    /// Add SHA-256 hashes of complete bodies to JSON lines. Hashes of short bodies can
    /// be guessed.
    #[arg(long)]
    pub body_hash: bool,
    /// Directory of the state: inventory and findings.
    #[arg(long, value_name = "DIR", env = "APISCOPE_STATE", default_value = STATE)]
    pub state: PathBuf,
    /// Keep no state.
    #[arg(long)]
    pub no_state: bool,
}

/// Longest run that can be asked for: a hundred years of seconds.
const DURATION_MAX: u64 = 100 * 365 * 24 * 3600;

/// Where state is kept unless told otherwise.
pub const STATE: &str = "/var/lib/apiscope";

/// `record`.
#[derive(Args, Debug)]
pub struct RecordArgs {
    /// The file to write.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Whom to observe.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// Stop after this many seconds; a command is asked to end, by SIGTERM.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=DURATION_MAX))]
    pub duration: Option<u64>,
}

/// `replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// A recording, or a HAR file (HTTP Archive 1.2).
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What to print.
    #[arg(long, short, value_enum, default_value_t = OutputArg::Auto)]
    pub output: OutputArg,
    /// Add SHA-256 hashes of complete bodies to JSON lines.
    #[arg(long)]
    pub body_hash: bool,
    /// Directory to keep the state in; without it, none is kept.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `inventory`, `findings`.
#[derive(Args, Debug)]
pub struct ReadArgs {
    /// Directory of the state.
    #[arg(long, value_name = "DIR", env = "APISCOPE_STATE", default_value = STATE)]
    pub state: PathBuf,
    /// A table, or one JSON object a line.
    #[arg(long, short, value_enum, default_value_t = FormatArg::Table)]
    pub output: FormatArg,
    /// Only this service.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// `openapi`.
#[derive(Args, Debug)]
pub struct OpenapiArgs {
    /// Name of the service, as `apiscope inventory` lists it; may be left out when
    /// there is only one.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Directory of the state.
    #[arg(long, value_name = "DIR", env = "APISCOPE_STATE", default_value = STATE)]
    pub state: PathBuf,
    /// Format of the document.
    #[arg(long, short, value_enum, default_value_t = DocumentArg::Yaml)]
    pub format: DocumentArg,
}

/// `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Look at these processes: what would be captured of each.
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Load every kernel program, to see what this kernel says.
    #[arg(long)]
    pub load: bool,
    /// Directory of the state: what the latest run saw of each program, and what not.
    #[arg(long, value_name = "DIR", env = "APISCOPE_STATE", default_value = STATE)]
    pub state: PathBuf,
}

/// How records come from the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TransportArg {
    /// A ring buffer where the kernel has it (5.8).
    Auto,
    /// A ring buffer.
    Ring,
    /// A perf event array.
    Perf,
}

/// What shows the bytes that sockets move.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SocketBackendArg {
    /// System calls: they can be hooked everywhere.
    Auto,
    /// The exit of system calls; what moves by `io_uring` is counted, not read.
    Syscall,
    /// The functions of the kernel that send and receive, where it lets them be hooked:
    /// `io_uring` is read too.
    Function,
}

/// What to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum OutputArg {
    /// The live view on a terminal, lines otherwise.
    Auto,
    /// The live view.
    Tui,
    /// A line per call.
    Lines,
    /// A JSON object per call, a line each, with OpenTelemetry attribute names.
    Json,
    /// Nothing.
    None,
}

/// How a list is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum FormatArg {
    /// Aligned columns.
    Table,
    /// One JSON object a line.
    Json,
}

/// How a document is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum DocumentArg {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

fn parse_power_of_two(text: &str) -> Result<u32, String> {
    let mib: u32 = text.parse().map_err(|error| format!("{error}"))?;
    if mib.is_power_of_two() && mib <= 1024 {
        Ok(mib << 20)
    } else {
        Err("must be a power of two, at most 1024".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_follows_two_dashes() {
        let cli = Cli::parse_from(["apiscope", "run", "-o", "json", "--", "sh", "-c", "exit 3"]);
        let Command::Run(run) = cli.command else { panic!("{cli:?}") };
        assert_eq!(run.scope.command, ["sh", "-c", "exit 3"]);
        assert_eq!(run.print.output, OutputArg::Json);
    }

    #[test]
    fn a_buffer_is_a_power_of_two() {
        let parse = |mib| Cli::try_parse_from(["apiscope", "run", "--all", "--buffer", mib]);
        assert!(parse("16").is_ok());
        for bad in ["0", "3", "2048", "x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
