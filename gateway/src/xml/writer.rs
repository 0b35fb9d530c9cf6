//! Writing XML documents: elements and text, escaped so that every string survives.

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
        let mut out = String::with_capacity(1024);
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
        for piece in ["<", name, ">"] {
            self.out.push_str(piece);
        }
    }

    /// Closes an element.
    pub fn close(&mut self, name: &str) {
        for piece in ["</", name, ">"] {
            self.out.push_str(piece);
        }
    }

    /// An element that holds text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape_into(&mut self.out, text);
        self.close(name);
    }

    /// An element that holds text, if there is any to hold.
    pub fn optional_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element that holds a number or a boolean (which need no escaping).
    pub fn value(&mut self, name: &str, value: impl std::fmt::Display) {
        self.open(name);
        self.out.push_str(&value.to_string());
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

/// Appends text with XML's special characters escaped.
///
/// Characters that XML 1.0 cannot carry (most below U+0020, U+FFFE, U+FFFF) become numeric references: most
/// parsers take them, and the alternative is to fail the whole listing for one key. A raw carriage return
/// would be read back as a line feed, so it is escaped too. `"` is escaped as Amazon does, for clients
/// that compare documents textually.
fn escape_into(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(character),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                out.extend(["&#x", &format!("{:x}", u32::from(character)), ";"]);
            }
            _ => out.push(character),
        }
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
