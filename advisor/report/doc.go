// Package report turns a diagnosis into bytes: one file per format, one line for it in the map of Write.
//
// It refuses to judge: severities, order and verdict are the diagnosis's, and no format leaves out what would change a
// reader's mind without saying so. It reads no environment and no terminal; the caller says how wide and whether in colour.
//
// These laws hold, each tested:
//
//   - the same diagnosis and options give the same bytes;
//   - nothing that came from a file or a process reaches the reader as a control byte, as a character that is invisible or
//     turns the direction of writing, or as invalid UTF-8: see escape.go;
//   - no escape sequence is written unless the options ask for colour, and then it changes no character of the text;
//   - Quiet and MinSeverity thin out the text only: what programs read, and the pages, are always whole;
//   - no format looks clean where something was not read, not decided or waived.
package report
