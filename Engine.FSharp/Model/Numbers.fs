namespace LsmFs.Engine

/// The number in a file's name. Numbers only grow, so no name is ever used twice.
[<Struct>]
type FileNumber =
    | FileNumber of uint64

    /// The plain number.
    member number.Value = let (FileNumber value) = number in value

    /// Six digits at least, as in file names: `000007`.
    override number.ToString() = number.Value.ToString "D6"

/// The position of a write in the history of a store: every write has its own, and a newer write a larger one.
/// The first write has sequence number 1; 0 stands before all writes. It is also the default cas unique of memcached.
[<Struct>]
type SequenceNumber =
    | SequenceNumber of uint64

    /// The plain number.
    member number.Value = let (SequenceNumber value) = number in value

    /// The sequence number of the write that follows.
    member number.Next = SequenceNumber(number.Value + 1UL)

    override number.ToString() = string number.Value

/// Sequence numbers with a meaning of their own.
[<RequireQualifiedAccess>]
module SequenceNumber =

    /// Stands before every write.
    let zero = SequenceNumber 0UL
