//! A QR code in a terminal: two rows of it a line, by half blocks, light on dark and dark on light alike.

use qrcode::{Color, EcLevel, QrCode, types::QrError};

/// The quiet zone around the code, in modules. The standard wants four; phones read two.
const MARGIN: usize = 2;

/// The code for `text`, one line of the terminal after the other.
///
/// # Errors
/// When there is too much in `text` for any code.
pub(super) fn draw(text: &str) -> Result<String, QrError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    let width = code.width();
    let light = |x: usize, y: usize| {
        let inside = (MARGIN..MARGIN + width).contains(&x) && (MARGIN..MARGIN + width).contains(&y);
        !inside || code[(x - MARGIN, y - MARGIN)] == Color::Light
    };
    let size = width + 2 * MARGIN;
    let mut drawn = String::new();
    for y in (0..size).step_by(2) {
        // Black on white whatever the terminal's colours: some phones do not read the other way around.
        drawn.push_str("\x1b[30;107m");
        for x in 0..size {
            drawn.push(match (light(x, y), y + 1 >= size || light(x, y + 1)) {
                (true, true) => ' ',
                (true, false) => '▄',
                (false, true) => '▀',
                (false, false) => '█',
            });
        }
        drawn.push_str("\x1b[0m\n");
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_whatsapp_fits_a_terminal_of_eighty_columns() {
        // As long as the real ones are: a reference and three keys.
        let drawn = draw(&format!("2@{},{}", "r".repeat(130), "k".repeat(140))).unwrap();
        let lines: Vec<_> = drawn.lines().collect();
        let columns = |line: &str| line.chars().filter(|sign| " ▄▀█".contains(*sign)).count();
        assert!(lines.iter().all(|line| columns(line) <= 80), "{} columns", columns(lines[0]));
        assert!(lines.len() <= 40, "{} lines", lines.len());
    }

    #[test]
    fn every_module_is_where_the_code_has_it() {
        let text = "hello";
        let code = QrCode::with_error_correction_level(text, EcLevel::L).unwrap();
        let drawn = draw(text).unwrap();
        let rows: Vec<Vec<char>> =
            drawn.lines().map(|line| line.chars().filter(|sign| " ▄▀█".contains(*sign)).collect()).collect();
        for y in 0..code.width() {
            for x in 0..code.width() {
                let sign = rows[(y + MARGIN) / 2][x + MARGIN];
                let dark =
                    if (y + MARGIN).is_multiple_of(2) { "▀█".contains(sign) } else { "▄█".contains(sign) };
                assert_eq!(dark, code[(x, y)] == Color::Dark, "at {x}, {y}");
            }
        }
    }
}
