//! `redis-trace explain`: the page of a cause, offline, and the list of causes.

use std::io::{self, Write as _};

use crate::cli::ExplainArgs;
use crate::failure::Exit;
use crate::trace::cause::Code;

/// Prints the page of the cause, or the list.
pub fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let text = args.code.map_or_else(list, |code| page(code).to_owned());
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Fine)
}

/// Every cause with the first sentence of its page.
fn list() -> String {
    let line = |code: &Code| format!("{code} {:<24} {}\n", code.name(), meaning(*code));
    let causes: String = Code::ALL.iter().map(line).collect();
    format!("{causes}\nredis-trace explain CODE tells all of it.\n")
}

/// What a cause means, in the one line that stands below the title of its page.
pub fn meaning(code: Code) -> &'static str {
    page(code).lines().skip(1).find(|line| !line.is_empty()).unwrap_or_default()
}

/// The page of a cause.
pub fn page(code: Code) -> &'static str {
    match code {
        Code::RT0000 => include_str!("../pages/RT0000.md"),
        Code::RT1001 => include_str!("../pages/RT1001.md"),
        Code::RT1002 => include_str!("../pages/RT1002.md"),
        Code::RT1003 => include_str!("../pages/RT1003.md"),
        Code::RT1004 => include_str!("../pages/RT1004.md"),
        Code::RT1005 => include_str!("../pages/RT1005.md"),
        Code::RT1006 => include_str!("../pages/RT1006.md"),
        Code::RT1007 => include_str!("../pages/RT1007.md"),
        Code::RT1008 => include_str!("../pages/RT1008.md"),
        Code::RT1009 => include_str!("../pages/RT1009.md"),
        Code::RT1010 => include_str!("../pages/RT1010.md"),
        Code::RT1011 => include_str!("../pages/RT1011.md"),
        Code::RT1012 => include_str!("../pages/RT1012.md"),
        Code::RT1013 => include_str!("../pages/RT1013.md"),
        Code::RT1014 => include_str!("../pages/RT1014.md"),
        Code::RT1015 => include_str!("../pages/RT1015.md"),
        Code::RT1016 => include_str!("../pages/RT1016.md"),
        Code::RT1017 => include_str!("../pages/RT1017.md"),
        Code::RT1018 => include_str!("../pages/RT1018.md"),
        Code::RT1019 => include_str!("../pages/RT1019.md"),
        Code::RT1020 => include_str!("../pages/RT1020.md"),
        Code::RT1021 => include_str!("../pages/RT1021.md"),
        Code::RT2001 => include_str!("../pages/RT2001.md"),
        Code::RT2002 => include_str!("../pages/RT2002.md"),
        Code::RT2003 => include_str!("../pages/RT2003.md"),
        Code::RT2004 => include_str!("../pages/RT2004.md"),
        Code::RT2005 => include_str!("../pages/RT2005.md"),
        Code::RT2006 => include_str!("../pages/RT2006.md"),
        Code::RT3001 => include_str!("../pages/RT3001.md"),
        Code::RT3002 => include_str!("../pages/RT3002.md"),
        Code::RT3003 => include_str!("../pages/RT3003.md"),
        Code::RT3004 => include_str!("../pages/RT3004.md"),
        Code::RT3005 => include_str!("../pages/RT3005.md"),
        Code::RT3010 => include_str!("../pages/RT3010.md"),
        Code::RT3011 => include_str!("../pages/RT3011.md"),
        Code::RT3012 => include_str!("../pages/RT3012.md"),
        Code::RT3013 => include_str!("../pages/RT3013.md"),
        Code::RT3014 => include_str!("../pages/RT3014.md"),
        Code::RT3020 => include_str!("../pages/RT3020.md"),
        Code::RT3021 => include_str!("../pages/RT3021.md"),
        Code::RT2007 => include_str!("../pages/RT2007.md"),
        Code::RT3030 => include_str!("../pages/RT3030.md"),
        Code::RT3031 => include_str!("../pages/RT3031.md"),
        Code::RT3032 => include_str!("../pages/RT3032.md"),
        Code::RT4002 => include_str!("../pages/RT4002.md"),
        Code::RT4003 => include_str!("../pages/RT4003.md"),
        Code::RT4004 => include_str!("../pages/RT4004.md"),
        Code::RT4001 => include_str!("../pages/RT4001.md"),
        Code::RT5001 => include_str!("../pages/RT5001.md"),
        Code::RT5002 => include_str!("../pages/RT5002.md"),
        Code::RT5003 => include_str!("../pages/RT5003.md"),
        Code::RT6001 => include_str!("../pages/RT6001.md"),
        Code::RT6002 => include_str!("../pages/RT6002.md"),
        Code::RT6003 => include_str!("../pages/RT6003.md"),
        Code::RT6004 => include_str!("../pages/RT6004.md"),
        Code::RT6005 => include_str!("../pages/RT6005.md"),
        Code::RT6006 => include_str!("../pages/RT6006.md"),
        Code::RT6007 => include_str!("../pages/RT6007.md"),
        Code::RT6008 => include_str!("../pages/RT6008.md"),
        Code::RT6009 => include_str!("../pages/RT6009.md"),
        Code::RT6010 => include_str!("../pages/RT6010.md"),
    }
}
