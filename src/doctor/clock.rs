//! Whether this machine's clock is kept right: TLS, key expiry and signed URLs depend on it.

use super::Check;

const NAME: &str = "clock";

/// Asks the kernel whether something keeps its clock synchronised (`man 2 adjtimex`).
pub fn synchronised() -> Check {
    let fix = "start a time service, e.g. `timedatectl set-ntp true`";
    match unsynchronised() {
        Ok(false) => Check::ok(NAME, format!("synchronised, {}", now())),
        Ok(true) => Check::warning(NAME, format!("not synchronised, {}", now()), fix),
        Err(error) => Check::warning(NAME, format!("unknown whether it is synchronised: {error}"), fix),
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn unsynchronised() -> std::io::Result<bool> {
    // SAFETY: `timex` is plain data for which all zeroes is valid; with `modes` 0 the call only fills it in.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    if state == -1 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(timex.status & libc::STA_UNSYNC != 0)
}
