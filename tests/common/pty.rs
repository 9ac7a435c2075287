//! The REPL in a pseudo-terminal, as a person at a keyboard meets it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Terminal {
    keyboard: Option<File>,
    screen: Receiver<Vec<u8>>,
    /// Reads the screen until the terminal is gone.
    reading: Option<JoinHandle<()>>,
    gone: Arc<AtomicBool>,
    /// What the program wrote so far.
    seen: String,
    /// Up to where it was waited for.
    read: usize,
    pub child: Child,
}

impl Terminal {
    /// Starts the program with a terminal of this size as all three of its streams.
    pub fn start(mut command: Command, cols: u16, rows: u16) -> Self {
        let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        // Programs that are started meanwhile would inherit the terminal, and keep it open.
        static STARTING: Mutex<()> = Mutex::new(());
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut master, mut slave) = (0, 0);
        // SAFETY: the pointers are to values that live through the call; null asks for no name and no settings.
        let opened =
            unsafe { libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size) };
        assert_eq!(opened, 0, "a pseudo-terminal opens");
        for end in [master, slave] {
            // SAFETY: sets a flag of a descriptor that was just opened.
            assert_eq!(unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) }, 0);
        }
        // SAFETY: `openpty` gave both, and nobody else holds them.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let stream = || slave.try_clone().expect("a copy");
        command.stdin(stream()).stdout(stream()).stderr(stream()).env("TERM", "xterm");
        // SAFETY: between fork and exec only calls that are safe there are made.
        unsafe {
            command.pre_exec(|| {
                // A session of its own, whose terminal this is: Ctrl-C and a hang-up reach it as signals.
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("the binary starts");
        drop(slave);
        let mut reader = master.try_clone().expect("a copy");
        let (sender, screen) = channel();
        let gone = Arc::new(AtomicBool::new(false));
        let hung_up = gone.clone();
        let reading = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !hung_up.load(Ordering::Relaxed) {
                let mut ready = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one entry, which lives through the call.
                if unsafe { libc::poll(&mut ready, 1, 20) } == 0 {
                    continue;
                }
                match reader.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(n) => {
                        if sender.send(buffer[..n].to_vec()).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // The other end is closed.
                    Err(_) => return,
                }
            }
        });
        Self {
            keyboard: Some(master),
            screen,
            reading: Some(reading),
            gone,
            seen: String::new(),
            read: 0,
            child,
        }
    }

    /// Types these keys.
    pub fn types(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().expect("not hung up");
        keyboard.write_all(keys.as_bytes()).expect("typed");
    }

    /// All that the program wrote so far, as far as it was waited for.
    pub fn seen(&self) -> &str {
        &self.seen[..self.read]
    }

    /// Passes over what the program has written so far.
    pub fn skips(&mut self) {
        while let Ok(bytes) = self.screen.try_recv() {
            self.seen += &String::from_utf8_lossy(&bytes);
        }
        self.read = self.seen.len();
    }

    /// Waits until the program has written this text after what was waited for before.
    #[track_caller]
    pub fn waits_for(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            match self.screen.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("no `{text}` after\n{}", self.seen),
            }
        }
    }

    /// Waits for the end of the program; gives how it ended and all that it wrote.
    #[track_caller]
    pub fn ends(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        loop {
            if let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(20)) {
                self.seen += &String::from_utf8_lossy(&bytes);
            }
            if let Some(status) = self.child.try_wait().expect("its state") {
                while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(50)) {
                    self.seen += &String::from_utf8_lossy(&bytes);
                }
                return (status, self.seen);
            }
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("it goes on after\n{}", self.seen);
            }
        }
    }

    /// Takes the terminal away.
    pub fn hangs_up(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        if let Some(reading) = self.reading.take() {
            reading.join().expect("it ends");
        }
        self.keyboard = None;
    }
}
