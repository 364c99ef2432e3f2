//! `xhint detach`

use std::process::ExitCode;

use xhint_runtime::detach::detach;

use super::device::Within;
use crate::print;

/// Take the program that `xhint attach` put there off a device, with its maps and all that was kept for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint detach eth0")]
pub struct Args {
    /// The network device
    ifname: String,
    #[command(flatten)]
    within: Within,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (home, device) = self.within.device(&self.ifname)?;
        let done = match detach(&home, &device)? {
            Some(id) => format!("program {id} detached"),
            None => "nothing was attached; cleared away what was left".to_owned(),
        };
        let done = format!("{}: {done}", self.ifname);
        print::report(&done, print::text(&done))?;
        Ok(ExitCode::SUCCESS)
    }
}
