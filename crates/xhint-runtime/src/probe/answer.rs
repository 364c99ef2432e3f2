//! What a driver's answer to a kfunc is worth.

/// What a driver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What the NIC says of the packet, or that it has nothing to say.
    Good(Evidence),
    /// Success, and what is not so.
    Lies(&'static str),
    /// An error, whatever the packet.
    AlwaysFails(String),
    /// What the kernel works out, no NIC's word.
    Software(&'static str),
    /// Nobody has looked.
    Unknown,
}

/// How it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// It was asked while packets came, and its answers looked at.
    Packets,
    /// The driver's code was read.
    Code,
}

impl Answer {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Answer::Good(_) => "good",
            Answer::Lies(_) => "lies",
            Answer::AlwaysFails(_) => "fails",
            Answer::Software(_) => "software",
            Answer::Unknown => "unknown",
        }
    }

    /// Why, or how that is known.
    pub fn why(&self) -> &str {
        match self {
            Answer::Good(evidence) => evidence.why(),
            Answer::Lies(why) | Answer::Software(why) => why,
            Answer::AlwaysFails(why) => why,
            Answer::Unknown => "nobody has looked at what this driver answers",
        }
    }
}

impl Evidence {
    fn why(self) -> &'static str {
        match self {
            Evidence::Packets => "seen with packets",
            Evidence::Code => "by the driver's code",
        }
    }
}
