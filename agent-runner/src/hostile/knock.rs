//! System calls as no honest program makes them, each by a process of its own: a program of some hundred bytes, made in memory,
//! which makes that one call and ends with what the kernel said. So nothing here needs to be unsafe, what a call would have
//! changed is gone with its process, and the tables of foreign programs are within reach.
//!
//! Each call is such that nothing can happen when it is let through: pointers are null and sizes zero.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{fd::AsRawFd as _, unix::process::ExitStatusExt as _},
    process::{Command, ExitStatus, Stdio},
};

use nanoclaw_core::protocol::hostile::Outcome;
use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::Errno,
};

use super::must_be_denied;

/// By which table the kernel looks up a call's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// That of the machine's own programs.
    Own,
    /// That of 64-bit programs with 32-bit pointers.
    X32,
    /// That of 32-bit programs; takes the first three arguments.
    Bits32,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done.
    Done,
    /// The kernel said this.
    Failed(Errno),
    /// The process was ended by this signal for it.
    Ended(i32),
}

/// Makes a call that must not even reach the kernel's own checks.
pub(super) fn knock(number: libc::c_long, arguments: [usize; 6]) -> Outcome {
    knock_by(Table::Own, number, arguments, Stdio::null())
}

/// The same by another table, or with something for its standard input.
pub(super) fn knock_by(table: Table, number: libc::c_long, arguments: [usize; 6], input: Stdio) -> Outcome {
    match answer(table, number, arguments, input) {
        Ok(Answer::Done) => must_be_denied(Ok(())),
        Ok(Answer::Failed(error)) => must_be_denied(Err(error)),
        Ok(Answer::Ended(signal)) => Outcome::Refused(format!("its process was ended by signal {signal}")),
        Err(error) => not_tried(&error),
    }
}

/// Whatever could not be tried is no proof, and has to be seen.
pub(super) fn not_tried(error: &io::Error) -> Outcome {
    if error.kind() == io::ErrorKind::Unsupported {
        return Outcome::Absent(error.to_string());
    }
    Outcome::Succeeded(format!("nothing is known of it: the program that makes the call did not run: {error}"))
}

/// Makes a call and says what came of it.
///
/// # Errors
/// When no program could be made, or it did not run.
pub(super) fn answer(table: Table, number: libc::c_long, arguments: [usize; 6], input: Stdio) -> io::Result<Answer> {
    let program = program(table, number, arguments)
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "calls are made up for x86-64 alone"))?;
    // It keeps its number in the child, which finds it by that.
    let mut memory = File::from(memfd_create("knock", MemfdFlags::empty())?);
    memory.write_all(&program)?;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let ended = Command::new(path).stdin(input).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    Ok(Answer::of(ended))
}

impl Answer {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Done,
            (Some(code), _) => Self::Failed(Errno::from_raw_os_error(code)),
            (None, signal) => Self::Ended(signal.unwrap_or_default()),
        }
    }
}

/// A whole program (ELF) that makes the call and exits with 0 or the number of the error, all of which are below 256. `None` on
/// another machine than x86-64.
fn program(table: Table, number: libc::c_long, arguments: [usize; 6]) -> Option<Vec<u8>> {
    /// Where the program lies in memory, and where its code begins: behind the header and one entry of the program table.
    const BASE: u64 = 0x40_0000;
    const CODE: u64 = 64 + 56;
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let code = code(table, number, arguments);
    let size = CODE + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Executable, for x86-64, version 1.
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    // Entry, program table, no section table.
    elf.extend([BASE + CODE, 64, 0].map(u64::to_le_bytes).concat());
    // No flags; sizes of the header and of an entry, one entry; no sections.
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // Load all of the file, readable and executable.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    elf.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).concat());
    elf.extend(code);
    Some(elf)
}

fn code(table: Table, number: libc::c_long, arguments: [usize; 6]) -> Vec<u8> {
    /// Added to a number, names the same call in the x32 table.
    const X32: u64 = 0x4000_0000;
    let number = number.cast_unsigned();
    let mut code = Vec::new();
    match table {
        Table::Own | Table::X32 => {
            // rdi, rsi, rdx, r10, r8, r9, as the kernel wants them.
            let registers: [[u8; 2]; 6] =
                [[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba], [0x49, 0xb8], [0x49, 0xb9]];
            for (register, argument) in registers.into_iter().zip(arguments) {
                code.extend(register);
                code.extend((argument as u64).to_le_bytes());
            }
            // rax; syscall.
            code.extend([0x48, 0xb8]);
            code.extend((if table == Table::X32 { number | X32 } else { number }).to_le_bytes());
            code.extend([0x0f, 0x05]);
        }
        Table::Bits32 => {
            let [first, second, third, ..] = arguments;
            // eax, ebx, ecx, edx; esi and edi to nothing; int 0x80; what eax says, with its sign.
            for (register, value) in [(0xb8, number as usize), (0xbb, first), (0xb9, second), (0xba, third)] {
                code.push(register);
                code.extend((value as u32).to_le_bytes());
            }
            code.extend([0x31, 0xf6, 0x31, 0xff, 0xcd, 0x80, 0x48, 0x63, 0xc0]);
        }
    }
    // rdi is -rax where rax is below nothing, else nothing; exit(rdi).
    code.extend([0x48, 0x89, 0xc7, 0x48, 0xf7, 0xdf, 0x48, 0x85, 0xc0, 0x78, 0x02, 0x31, 0xff]);
    code.extend([0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    code
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn own(number: libc::c_long, arguments: [usize; 6]) -> Answer {
        answer(Table::Own, number, arguments, Stdio::null()).expect("a program from memory runs where tests do")
    }

    #[test]
    fn a_call_that_works_one_that_fails_and_one_that_does_not_exist_are_told_apart() {
        assert_eq!(own(libc::SYS_getpid, [0; 6]), Answer::Done);
        assert_eq!(own(libc::SYS_close, [999, 0, 0, 0, 0, 0]), Answer::Failed(Errno::BADF));
        assert_eq!(own(5000, [0; 6]), Answer::Failed(Errno::NOSYS));
        assert_eq!(own(libc::SYS_getpid, [usize::MAX; 6]), Answer::Done);
    }

    #[test]
    fn every_argument_arrives_in_its_place() {
        // A file that is not there, one that is none, and an offset that no mapping takes.
        let nothing = usize::MAX;
        assert_eq!(own(libc::SYS_mmap, [0, 4096, 1, 2, 999, 0]), Answer::Failed(Errno::BADF));
        assert_eq!(own(libc::SYS_mmap, [0, 4096, 1, 0x22, nothing, 1]), Answer::Failed(Errno::INVAL));
        assert_eq!(own(libc::SYS_mmap, [0, 4096, 1, 0x22, nothing, 0]), Answer::Done);
        assert_eq!(own(libc::SYS_mmap, [0, 0, 1, 0x22, nothing, 0]), Answer::Failed(Errno::INVAL));
    }

    #[test]
    fn a_call_can_be_made_on_what_is_its_standard_input() {
        let (ours, theirs) = io::pipe().expect("a pipe can be made");
        let answered = answer(Table::Own, libc::SYS_lseek, [0, 0, 0, 0, 0, 0], Stdio::from(ours));
        assert_eq!(answered.expect("a program from memory runs where tests do"), Answer::Failed(Errno::SPIPE));
        drop(theirs);
    }

    #[test]
    fn by_the_32_bit_table_numbers_mean_what_they_do_there() {
        // 20 is getpid there and writev here; a kernel without that table ends the process.
        let answered = answer(Table::Bits32, 20, [0; 6], Stdio::null()).expect("it runs");
        assert!(matches!(answered, Answer::Done | Answer::Ended(_)), "{answered:?}");
        let closed = answer(Table::Bits32, 6, [999, 0, 0, 0, 0, 0], Stdio::null()).expect("it runs");
        assert!(matches!(closed, Answer::Failed(Errno::BADF) | Answer::Ended(_)), "{closed:?}");
    }
}
