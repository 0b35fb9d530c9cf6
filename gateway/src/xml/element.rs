//! A bounded XML parser: a request document as a tree of elements with text.
//!
//! Bounds: [`DOCUMENT_SIZE_BYTES_MAX`], [`DEPTH_MAX`] and [`ELEMENTS_MAX`]. Document types are refused, so there are no
//! entities beyond XML's own five and nothing can expand. Namespaces and attributes are ignored: S3 accepts
//! documents with and without its namespace. Text is kept exactly, for keys may begin with spaces.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// The largest document S3 takes is a list of 10,000 parts with checksums, about 2 MB.
pub const DOCUMENT_SIZE_BYTES_MAX: usize = 4 << 20;

/// The deepest document of the implemented operations nests three elements.
const DEPTH_MAX: usize = 8;

/// A list of 10,000 parts, each with its number, `ETag` and up to seven checksums, and the list itself. Each element of
/// the tree takes some 100 bytes beyond its text, so that the tree is never much larger than the largest document;
/// without this bound 4 MiB of `<a/>` would become more than 100 MiB.
const ELEMENTS_MAX: usize = 100_000;

/// Why a document is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XmlError {
    /// It is larger than [`DOCUMENT_SIZE_BYTES_MAX`].
    TooLong,
    /// It is not the document that was expected, or none at all, or beyond another bound.
    Malformed,
}

/// An element: its name without prefix, its own text, its children in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Parses a document whose root element is `root`.
    pub(crate) fn parse(document: &[u8], root: &str) -> Result<Element, XmlError> {
        if document.len() > DOCUMENT_SIZE_BYTES_MAX {
            return Err(XmlError::TooLong);
        }
        let document = std::str::from_utf8(document).map_err(|_| XmlError::Malformed)?;
        let parsed = read(document.trim_start_matches('\u{feff}')).ok_or(XmlError::Malformed)?;
        if parsed.name == root {
            Ok(parsed)
        } else {
            Err(XmlError::Malformed)
        }
    }

    /// The text of the only child of a name, trimmed; `None` if there is no such child.
    pub(crate) fn child_text(&self, name: &str) -> Result<Option<&str>, XmlError> {
        let mut found = self.children.iter().filter(|child| child.name == name);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(child), None) => Ok(Some(child.text.trim())),
            (Some(_), Some(_)) => Err(XmlError::Malformed),
        }
    }
}

/// Builds the tree; `None` for anything that is not one well-formed element of allowed depth and size.
fn read(document: &str) -> Option<Element> {
    let mut reader = Reader::from_str(document);
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut element_count = 0;
    let mut may_begin = |depth: usize, root: Option<&Element>| {
        element_count += 1;
        (root.is_none() && depth < DEPTH_MAX && element_count <= ELEMENTS_MAX).then_some(())
    };
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                may_begin(open.len(), root.as_ref())?;
                open.push(Element::named(start.local_name().as_ref()));
            }
            Event::Empty(start) => {
                may_begin(open.len(), root.as_ref())?;
                close(
                    Element::named(start.local_name().as_ref()),
                    &mut open,
                    &mut root,
                );
            }
            Event::End(_) => close(open.pop()?, &mut open, &mut root),
            Event::Text(text) => push_text(&mut open, &text)?,
            Event::CData(text) => push_text(&mut open, &text)?,
            Event::GeneralRef(reference) => push_text(&mut open, &resolve(&reference)?)?,
            Event::DocType(_) => return None,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return root.filter(|_| open.is_empty()),
        }
    }
}

impl Element {
    fn named(name: &str) -> Element {
        Element {
            name: name.to_owned(),
            ..Element::default()
        }
    }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

/// Text outside the root element may only be white space.
fn push_text(open: &mut [Element], text: &str) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None => return text.trim().is_empty().then_some(()),
    }
    Some(())
}

/// `&amp;` and its like, and numeric references.
fn resolve(reference: &BytesRef<'_>) -> Option<String> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character.to_string());
    }
    quick_xml::escape::resolve_xml_entity(reference).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(document: &str) -> Result<Element, XmlError> {
        Element::parse(document.as_bytes(), "A")
    }

    #[test]
    fn namespaces_prefixes_comments_and_declarations_do_not_matter() {
        let plain = parse("<A><B>x</B></A>").unwrap();
        for same in [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<A xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><B>x</B></A>\n",
            "<s:A xmlns:s=\"urn:x\"><s:B y='1'>x</s:B></s:A>",
            "\u{feff}<A><!-- c --><B><![CDATA[x]]></B></A>",
        ] {
            assert_eq!(parse(same).unwrap(), plain, "{same}");
        }
    }

    #[test]
    fn text_is_kept_exactly_and_references_are_resolved() {
        let document = parse("<A> a&amp;b &lt;&#x41;&#1;&quot; </A>").unwrap();
        assert_eq!(document.text, " a&b <A\u{1}\" ");
    }

    #[test]
    fn what_is_not_one_small_element_is_refused() {
        let deep = format!("{}{}", "<A>".repeat(9), "</A>".repeat(9));
        for bad in [
            "",
            "text",
            "<B/>",
            "<A>",
            "<A></B>",
            "<A/><A/>",
            "<A/>text",
            "<!DOCTYPE A [<!ENTITY e \"x\">]><A>&e;</A>",
            "<A>&e;</A>",
            "<A>&#xD800;</A>",
            &deep,
        ] {
            assert_eq!(parse(bad).unwrap_err(), XmlError::Malformed, "{bad}");
        }
        let many = |count: usize| format!("<A>{}</A>", "<B/>".repeat(count));
        assert_eq!(parse(&many(99_999)).unwrap().children.len(), 99_999);
        assert_eq!(parse(&many(100_000)).unwrap_err(), XmlError::Malformed);
        let huge = vec![b' '; DOCUMENT_SIZE_BYTES_MAX + 1];
        assert_eq!(Element::parse(&huge, "A").unwrap_err(), XmlError::TooLong);
        assert_eq!(
            Element::parse(b"<A>\xff</A>", "A").unwrap_err(),
            XmlError::Malformed
        );
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_documents_never_panic(document in "(<A>|</A>|<A/>|&amp;|&#x1;|<!DOCTYPE|<!--|-->|<\\?|[<>&;a ]){0,40}") {
            drop(parse(&document));
        }

        #[test]
        fn whatever_the_writer_writes_is_read_back(text in ".{0,40}") {
            proptest::prop_assume!(!text.contains('\0'));
            let mut xml = crate::xml::XmlWriter::document();
            xml.text("A", &text);
            proptest::prop_assert_eq!(parse(&xml.finish()).unwrap().text, text);
        }
    }
}
