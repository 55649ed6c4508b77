//! Where the report goes: lines and tables as they come, and the damage once more at the end.
//!
//! Prints at once instead of gathering text, because a log has millions of records. The list of
//! damage is bounded; beyond the bound it only counts.

use std::io::{self, Write};

use crate::admin::table;
use crate::base::limits::INSPECT_DAMAGE_MAX;

pub struct Output<'a> {
    out: &'a mut dyn Write,
    damage: Vec<(String, String)>,
    damaged: u64,
}

impl<'a> Output<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Output { out, damage: Vec::new(), damaged: 0 }
    }

    pub fn field(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.line(&format!("{name:<10}{value}"))
    }

    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", text.trim_end())
    }

    /// A line that begins a section.
    pub fn title(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n{text}")
    }

    /// Rows below their head, with an empty line in front.
    pub fn table<S: AsRef<str>>(&mut self, rows: &[Vec<S>]) -> io::Result<()> {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| cell.as_ref().to_owned()).collect()).collect();
        write!(self.out, "\n{}", table::aligned(&rows))
    }

    /// Remembers a damaged piece for the end of the report.
    pub fn damaged(&mut self, place: &str, what: &str) {
        self.damaged += 1;
        if self.damage.len() < INSPECT_DAMAGE_MAX {
            self.damage.push((place.to_owned(), what.to_owned()));
        }
    }

    /// Ends the report with the damage.
    pub fn finish(mut self) -> io::Result<()> {
        self.title(&match self.damaged {
            0 => "DAMAGE  none found".to_owned(),
            count => format!("DAMAGE  {}", table::grouped(count)),
        })?;
        let listed = self.damage.len() as u64;
        let rows: Vec<Vec<String>> = self.damage.drain(..).map(|(place, what)| vec![place, what]).collect();
        write!(self.out, "{}", table::aligned(&rows))?;
        if listed < self.damaged {
            writeln!(self.out, "and {} more", table::grouped(self.damaged - listed))?;
        }
        self.out.flush()
    }
}
