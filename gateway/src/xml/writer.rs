//! Writing XML documents: elements and text, escaped so that every string survives.

use std::fmt::{self, Write};

/// Builds one document in memory. Documents are bounded by the page sizes of the API.
#[derive(Debug)]
pub struct XmlWriter {
    out: String,
}

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

impl XmlWriter {
    /// An empty document with its declaration.
    pub fn document() -> XmlWriter {
        Self::document_of(1024)
    }

    /// As [`XmlWriter::document`], with room for about so many bytes: long documents are not moved as they grow.
    pub fn document_of(size_bytes: usize) -> XmlWriter {
        let mut out = String::with_capacity(size_bytes);
        out.push_str(DECLARATION);
        XmlWriter { out }
    }

    /// Opens the root element of a response, in S3's namespace.
    pub fn open_root(&mut self, name: &str) {
        for piece in ["<", name, " xmlns=\"", NAMESPACE, "\">"] {
            self.out.push_str(piece);
        }
    }

    /// Opens an element.
    pub fn open(&mut self, name: &str) {
        // One by one: pieces of constant length are stored without a call, and a listing has thousands of elements.
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Closes an element.
    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// An element that holds text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape_into(&mut self.out, text);
        self.close(name);
    }

    /// An element that holds text in quotation marks, as ETags are shown.
    pub fn quoted_text(&mut self, name: &str, text: &str) {
        self.open(name);
        self.out.push_str("&quot;");
        escape_into(&mut self.out, text);
        self.out.push_str("&quot;");
        self.close(name);
    }

    /// An element that holds text, if there is any to hold.
    pub fn optional_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element that holds a number or a boolean (which need no escaping).
    pub fn value(&mut self, name: &str, value: impl fmt::Display) {
        self.open(name);
        // A string takes whatever is written to it.
        let _written: fmt::Result = write!(self.out, "{value}");
        self.close(name);
    }

    /// The finished document.
    pub fn finish(self) -> String {
        self.out
    }
}

/// The document of `GetBucketLocation`; `None` is us-east-1, which has no location constraint.
pub fn location_constraint(region: Option<&str>) -> String {
    let mut xml = XmlWriter::document();
    xml.open_root("LocationConstraint");
    escape_into(&mut xml.out, region.unwrap_or_default());
    xml.close("LocationConstraint");
    xml.finish()
}

/// The document of `GetBucketVersioning` for a bucket that never had versioning.
pub fn versioning_configuration() -> String {
    let mut xml = XmlWriter::document();
    xml.open_root("VersioningConfiguration");
    xml.close("VersioningConfiguration");
    xml.finish()
}

/// Appends text with XML's special characters escaped.
///
/// Characters that XML 1.0 cannot carry (most below U+0020, U+FFFE, U+FFFF) become numeric references: most
/// parsers take them, and the alternative is to fail the whole listing for one key. A raw carriage return
/// would be read back as a line feed, so it is escaped too. `"` is escaped as Amazon does, for clients
/// that compare documents textually.
fn escape_into(out: &mut String, text: &str) {
    let mut rest = text;
    // What needs no escaping, which is nearly all, is copied as a whole.
    while let Some((plain, special)) = first_special(rest).and_then(|at| rest.split_at_checked(at))
    {
        out.push_str(plain);
        let mut characters = special.chars();
        if let Some(character) = characters.next() {
            escape_character_into(out, character);
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}

/// Where the first character is that needs escaping. Mostly there is none, and bytes tell that faster than characters.
fn first_special(text: &str) -> Option<usize> {
    if text.bytes().any(may_be_special) {
        text.find(is_special)
    } else {
        None
    }
}

fn is_special(character: char) -> bool {
    let is_control = character < ' ' && !matches!(character, '\t' | '\n');
    is_control || matches!(character, '&' | '<' | '>' | '"' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a character that begins with this byte may be one of [`is_special`]: U+FFFE and U+FFFF begin with EF.
fn may_be_special(byte: u8) -> bool {
    byte < b' ' || matches!(byte, b'&' | b'<' | b'>' | b'"' | 0xef)
}

fn escape_character_into(out: &mut String, character: char) {
    match character {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        _ => out.extend(["&#x", &format!("{:x}", u32::from(character)), ";"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        escape_into(&mut out, text);
        out
    }

    #[test]
    fn special_and_control_characters_are_escaped() {
        assert_eq!(escaped("a&<>\"'\t\n\r"), "a&amp;&lt;&gt;&quot;'\t\n&#xd;");
        assert_eq!(
            escaped("\u{0}\u{1f}\u{7f}\u{ffff}é😀"),
            "&#x0;&#x1f;\u{7f}&#xffff;é😀"
        );
    }

    #[test]
    fn bytes_tell_where_no_character_is_special() {
        for character in '\0'..=char::MAX {
            let first = character.encode_utf8(&mut [0; 4]).as_bytes()[0];
            assert!(
                may_be_special(first) || !is_special(character),
                "{character:?}"
            );
        }
    }

    #[test]
    fn what_is_quoted_is_escaped_too() {
        let mut xml = XmlWriter::document_of(0);
        xml.quoted_text("A", "a\"b");
        let document = xml.finish();
        assert!(
            document.ends_with("\n<A>&quot;a&quot;b&quot;</A>"),
            "{document}"
        );
    }

    #[test]
    fn a_document_nests() {
        let mut xml = XmlWriter::document();
        xml.open_root("A");
        xml.text("B", "x");
        xml.optional_text("C", None);
        xml.value("D", 5);
        xml.close("A");
        assert_eq!(
            xml.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <A xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><B>x</B><D>5</D></A>"
        );
    }
}
