//! A source file without what is not code: comments and the insides of literals are blanked, test items are marked.
//!
//! Blanking keeps every byte's place, so that lines and columns stay true.

/// A string literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The line that it begins in, from 1.
    pub line: usize,
    /// What is between the quotes, escapes as they are typed.
    pub text: String,
}

/// A source file.
pub struct Source {
    /// Its path from the root of the repository, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The same length; comments, literals and test items are blank.
    pub code: String,
    /// String literals outside of test items.
    pub literals: Vec<Literal>,
    /// Lines outside of test items.
    pub lines: usize,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl Source {
    /// Takes a file apart.
    #[must_use]
    pub fn read(path: &str, text: &str) -> Self {
        let mut scan = Scan::new(text);
        scan.run();
        let mut code = scan.code;
        let starts = line_starts(text);
        let mut lines = text.lines().count();
        if is_test_file(path, text) {
            blank(&mut code, 0, text.len());
            lines = 0;
        }
        while let Some((start, end)) = next_test_item(&code) {
            lines = lines.saturating_sub(line_of(&starts, end) - line_of(&starts, start) + 1);
            blank(&mut code, start, end);
        }
        let code = String::from_utf8(code).expect("blanks keep UTF-8 whole");
        let literals = scan.literals;
        let literals = literals
            .into_iter()
            .filter(|(at, _)| code.as_bytes()[*at] == b'"')
            .map(|(at, text_inside)| Literal { line: line_of(&starts, at), text: text_inside })
            .collect();
        Self { path: path.to_owned(), text: text.to_owned(), code, literals, lines, starts }
    }

    /// The line of a byte, from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        line_of(&self.starts, at)
    }

    /// Where a word stands in the code, not as a part of a longer one.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = self.code.as_bytes();
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let before = at.checked_sub(1).is_some_and(|i| is_word(bytes[i]));
            let after = bytes.get(at + word.len()).is_some_and(|b| is_word(*b));
            !before && !after
        })
    }
}

/// Whether a byte can be a part of a name.
#[must_use]
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The index after the bracket that closes the one at `open`; the end where none does.
#[must_use]
pub fn after_bracket(code: &[u8], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

fn line_starts(text: &str) -> Vec<usize> {
    let ends = text.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

fn line_of(starts: &[usize], at: usize) -> usize {
    starts.partition_point(|start| *start <= at)
}

/// Whole files of tests; `sim` and `tidy` are test code as well, but big enough to be held to the sizes.
fn is_test_file(path: &str, text: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || text.contains("\n#![cfg(test)]")
}

/// The first item under `#[cfg(test)]`, from its attribute to its end.
fn next_test_item(code: &[u8]) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(code).expect("blanks keep UTF-8 whole");
    let start = ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|attribute| text.find(attribute)).min()?;
    let mut at = after_bracket(code, start + 1);
    // Further attributes belong to the item; it ends with its block or a semicolon.
    while at < code.len() {
        match code[at] {
            b'{' => return Some((start, after_bracket(code, at))),
            b'(' | b'[' => at = after_bracket(code, at),
            b';' => return Some((start, at + 1)),
            // The item may be the last field or variant of a list.
            b'}' => return Some((start, at)),
            _ => at += 1,
        }
    }
    Some((start, code.len()))
}

fn blank(code: &mut [u8], start: usize, end: usize) {
    for byte in &mut code[start..end] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// One pass over a text.
struct Scan<'a> {
    text: &'a [u8],
    code: Vec<u8>,
    at: usize,
    /// Where the opening quote is, and what is inside.
    literals: Vec<(usize, String)>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), code: text.as_bytes().to_vec(), at: 0, literals: Vec::new() }
    }

    fn run(&mut self) {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            match rest[0] {
                b'/' if rest.starts_with(b"//") => self.line_comment(),
                b'/' if rest.starts_with(b"/*") => self.block_comment(),
                b'"' => self.string(),
                b'r' if self.begins_word() => self.maybe_raw(1),
                b'b' | b'c' if self.begins_word() && rest.get(1) == Some(&b'r') => self.maybe_raw(2),
                b'\'' => self.quote(),
                _ => self.at += 1,
            }
        }
    }

    fn begins_word(&self) -> bool {
        !self.at.checked_sub(1).is_some_and(|i| is_word(self.text[i]))
    }

    fn line_comment(&mut self) {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        self.skip_blank(length);
    }

    fn block_comment(&mut self) {
        let (mut depth, mut length) = (0, 0);
        let rest = &self.text[self.at..];
        while length < rest.len() {
            if rest[length..].starts_with(b"/*") {
                (depth, length) = (depth + 1, length + 2);
            } else if rest[length..].starts_with(b"*/") {
                (depth, length) = (depth - 1, length + 2);
                if depth == 0 {
                    break;
                }
            } else {
                length += 1;
            }
        }
        self.skip_blank(length);
    }

    fn skip_blank(&mut self, length: usize) {
        blank(&mut self.code, self.at, self.at + length);
        self.at += length;
    }

    fn string(&mut self) {
        let open = self.at;
        let mut end = open + 1;
        while end < self.text.len() && self.text[end] != b'"' {
            end += if self.text[end] == b'\\' { 2 } else { 1 };
        }
        self.close(open, end.min(self.text.len()), 1);
    }

    /// `r"…"`, `r#"…"#`, …; `r#name` is a name.
    fn maybe_raw(&mut self, prefix: usize) {
        let rest = &self.text[self.at + prefix..];
        let hashes = rest.iter().take_while(|b| **b == b'#').count();
        if rest.get(hashes) != Some(&b'"') {
            self.at += 1;
            return;
        }
        let open = self.at + prefix + hashes;
        let mut closing = vec![b'"'];
        closing.resize(1 + hashes, b'#');
        let inside = &self.text[open + 1..];
        let length = inside.windows(closing.len()).position(|w| w == closing);
        let end = length.map_or(self.text.len(), |length| open + 1 + length);
        self.close(open, end, closing.len());
    }

    /// Blanks what is between the quotes and goes on after the literal.
    fn close(&mut self, open: usize, end: usize, closing: usize) {
        let start = (open + 1).min(end);
        let inside = String::from_utf8_lossy(&self.text[start..end]).into_owned();
        self.literals.push((open, inside));
        blank(&mut self.code, start, end);
        self.at = (end + closing).min(self.text.len());
    }

    /// A character literal, or a lifetime.
    fn quote(&mut self) {
        let rest = &self.text[self.at..];
        let length = match rest.get(1) {
            Some(b'\\') => rest.iter().skip(3).position(|b| *b == b'\'').map(|p| p + 4),
            Some(first) => {
                let width = match first {
                    0xf0.. => 4,
                    0xe0.. => 3,
                    0xc0.. => 2,
                    _ => 1,
                };
                (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
            }
            None => None,
        };
        match length {
            Some(length) => self.skip_blank(length.min(self.text.len() - self.at)),
            None => self.at += 1,
        }
    }
}

#[test]
fn comments_and_literals_are_blank_and_nothing_moves() {
    let cases = [
        ("a // x\nb", "a     \nb"),
        ("a /* x /* y */ z */ b", "a                   b"),
        ("f(\"x // y\")", "f(\"      \")"),
        ("f(\"\\\"x\") // y", "f(\"   \")     "),
        ("r#\"a\"b\"# c", "r#\"   \"# c"),
        ("br\"x\" c\"y\" b\"z\"", "br\" \" c\" \" b\" \""),
        ("'x' 'a 'b", "    'a 'b"),
        ("'\\'' '\\u{41}' '\"' z", "               z"),
        ("'ü' '→' x", "           x"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("r#type var\"x\"", "r#type var\" \""),
        ("\"open", "\"    "),
    ];
    for (text, expected) in cases {
        let source = Source::read("src/a.rs", text);
        let trimmed: Vec<u8> = source.code.bytes().collect();
        assert_eq!(trimmed.len(), text.len(), "{text}");
        assert_eq!(
            source.code.split_whitespace().collect::<Vec<_>>(),
            expected.split_whitespace().collect::<Vec<_>>(),
            "{text}"
        );
    }
}

#[test]
fn test_items_are_blank_wherever_they_stand() {
    let text = "use a;\n#[cfg(test)]\nuse b::{c, d};\nfn e() {}\n#[cfg(test)]\n#[rustfmt::skip]\nmod tests {\n fn f() { \"g\" }\n}\nfn h() { \"i\" }\n";
    let source = Source::read("src/a.rs", text);
    for (word, there) in [("a", true), ("b", false), ("e", true), ("f", false), ("h", true)] {
        assert_eq!(source.words(word).next().is_some(), there, "{word}");
    }
    let expected = Literal { line: 10, text: "i".to_owned() };
    assert_eq!(source.literals, [expected]);
    assert_eq!(source.lines, 3);
    assert_eq!(Source::read("src/a/tests.rs", "fn f() {}").words("f").count(), 0);
}
