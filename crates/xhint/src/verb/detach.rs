//! `xhint detach`

use std::process::ExitCode;

use xhint_runtime::detach::detach;

use super::device::Within;

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
        match detach(&home, &device)? {
            Some(id) => println!("{}: program {id} detached", self.ifname),
            None => println!("{}: nothing was attached; cleared away what was left", self.ifname),
        }
        Ok(ExitCode::SUCCESS)
    }
}
