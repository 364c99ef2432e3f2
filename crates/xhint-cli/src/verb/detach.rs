//! `xhint detach`

use std::process::ExitCode;

use serde_json::json;
use xhint::runtime::detach::detach;

use crate::arguments::device::Within;
use crate::print;

/// Detach the program that `xhint attach` put on a device, and remove its maps and all that xhint keeps for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint detach eth0")]
pub struct Args {
    /// The network device
    ifname: String,
    #[command(flatten)]
    within: Within,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (home, device) = self.within.device(&self.ifname)?;
        let program = detach(&home, &device)?;
        let done = match program {
            Some(id) => format!("program {id} detached"),
            None => "nothing was attached; removed what an earlier call had left".to_owned(),
        };
        let done = format!("{}: {done}", self.ifname);
        let told = match self.json {
            true => print::json(&json!({"device": self.ifname, "program_id": program})),
            false => print::text(&done),
        };
        print::report(&done, told)?;
        Ok(ExitCode::SUCCESS)
    }
}
