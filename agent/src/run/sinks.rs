//! Where observed calls go.

use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;

use crate::{
    cli::{OutputArg, RunArgs},
    export::json::JsonLines,
    pipeline::{self, Observed, Pipeline},
    probe::Settings,
    run::{capture::Capture, printer::Printer},
};

/// Everything that a run feeds.
#[derive(Debug)]
pub struct Sinks {
    output: OutputArg,
    printer: Printer,
    json: JsonLines,
}

impl Sinks {
    /// Opens what was asked for.
    pub fn open(
        args: &RunArgs,
        output: OutputArg,
        _runtime: &Runtime,
        _capture: &Capture,
        _settings: &Settings,
    ) -> Result<Self> {
        Ok(Self {
            output,
            printer: Printer::stdout(),
            json: JsonLines { body_hash: args.print.body_hash },
        })
    }

    /// Opens what a replay was asked for.
    pub fn for_replay(args: &crate::cli::ReplayArgs) -> Result<Self> {
        Ok(Self {
            output: super::choose_lines(args.output),
            printer: Printer::stdout(),
            json: JsonLines { body_hash: args.body_hash },
        })
    }

    /// Ends a replay.
    pub fn close_replay(self, _pipeline: &mut Pipeline) -> Result<()> {
        self.printer.finish(Duration::from_secs(3600));
        Ok(())
    }

    /// A pipeline that goes on from the state on disk.
    pub fn pipeline(&mut self) -> Result<Pipeline> {
        Ok(Pipeline::new(&pipeline::Settings::default()))
    }

    /// Everything is observed from here on.
    pub fn ready(&self) {}

    /// The reader of the output has gone away.
    pub fn closed(&self) -> bool {
        self.output != OutputArg::None && self.printer.closed()
    }

    /// Takes calls.
    pub fn calls(&mut self, observed: &mut Vec<Observed>) {
        for call in observed.drain(..) {
            match self.output {
                OutputArg::Json => self.printer.line(|out| self.json.write(&call, out)),
                _ => {}
            }
        }
        self.printer.flush();
    }

    /// Called every round.
    pub fn turn(&mut self, _capture: &Capture, _pipeline: &mut Pipeline) {}

    /// Ends everything in order.
    pub fn close(self, _capture: &Capture, _pipeline: &mut Pipeline) -> Result<()> {
        self.printer.finish(Duration::from_secs(5));
        Ok(())
    }
}
