use agent_common::counter::Counter;
use apiscope::event::Event;
use apiscope::probe::*;
fn main() {
    tracing_subscriber::fmt().with_env_filter("debug").with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let perf = std::env::var("PERF").is_ok();
    let s = Settings {
        scope: Scope { command: true, ..Default::default() },
        transport: if perf { Transport::Perf } else { Transport::Auto },
        ..Default::default()
    };
    let mut c = match apiscope::run::capture::Capture::start(&s) {
        Ok(p) => p,
        Err(e) => {
            eprintln!("{e:#}");
            std::process::exit(1)
        }
    };
    let held = launch::hold(&args, launch::CommandOutput::Inherit).unwrap();
    c.admit(held.pid, true).unwrap();
    let mut child = held.release().unwrap();
    let mut done = None;
    let mut out = vec![];
    loop {
        c.round(&mut out).unwrap();
        for e in out.drain(..) {
            match e {
                Event::Data(h) => eprintln!(
                    "DATA pid={} tid={} flow={:x} sock={} dir={} layer={} proto={} off={} len={} cap={} flags={} lib={} {}:{} {:?}",
                    h.tgid,
                    h.tid,
                    h.flow.id,
                    h.socket.id,
                    h.direction.0,
                    h.layer.0,
                    h.protocol.0,
                    h.offset,
                    h.len,
                    h.payload.len(),
                    h.flags.0,
                    h.library,
                    h.tuple.local_port,
                    h.tuple.remote_port,
                    String::from_utf8_lossy(&h.payload[..h.payload.len().min(40)])
                ),
                e => eprintln!("{e:?}"),
            }
        }
        if let Some(d) = done {
            if std::time::Instant::now() > d {
                break;
            }
        } else if child.try_wait().unwrap().is_some() {
            done = Some(std::time::Instant::now() + std::time::Duration::from_millis(100));
        }
    }
    for (c, v) in Counter::NAMES.iter().zip(c.probes().counters()) {
        if v > 0 {
            eprintln!("{} = {v}", c.1);
        }
    }
}
