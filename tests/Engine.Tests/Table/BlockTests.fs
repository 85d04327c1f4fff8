module LsmFs.Engine.Tests.BlockTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

/// A data block as FORMATS.md describes it, written without the builder.
let private contentOf (entries: byte[] list) : byte[] =
    let buffer = ByteBuffer 64
    let offsets = entries |> List.scan (fun offset entry -> offset + entry.Length) 0

    for entry in entries do
        buffer.Append(span entry)

    for offset in List.take entries.Length offsets do
        buffer.AppendU16(uint16 offset)

    for entry in entries do
        let entry = entryOf entry
        buffer.AppendU8(byte (KeyHash.compute entry.Key &&& 0xFFUL))

    buffer.AppendU16(uint16 entries.Length)
    buffer.ToArray()

let private handleOf (block: byte[]) = { OffsetBytes = 4096L; LengthBytes = block.Length }

let private verify (block: byte[]) = Block.verify fileName (handleOf block) block 0

/// At most as many entries as a block can hold.
let private blockModel (first: Write) (rest: Write list) : Model =
    let mutable length = 0

    modelFrom 1UL (first :: rest)
    |> Map.filter (fun _ entry ->
        length <- length + entry.Length
        length < 60_000)

let private entriesOf (block: byte[]) : byte[] list =
    let cursor = BlockCursor()
    cursor.Open(block, 0, block.Length)

    [
        while cursor.MoveNext() do
            let entry = cursor.Current
            entry.Bytes.ToArray()
    ]

let private refused (what: string) (content: byte[]) =
    match verify (store content) with
    | Ok() -> failtest $"%s{what} was not refused"
    | Error corruption ->
        Expect.equal corruption.File fileName "the file is named"
        Expect.equal corruption.OffsetBytes 4096L "and the place"

let private small (sequence: uint64) (key: string) : byte[] =
    encode sequence {
        WriteKey = keyBytes key
        WriteValue = ValueSome "value"B
        WriteFlags = 0u
        WriteExpirySeconds = 0u
        WriteCas = 0UL
    }

[<Tests>]
let tests =
    testList "Block" [
        property "is read back whole" (fun (first: Write) (rest: Write list) ->
            let model = blockModel first rest
            let block = store (contentOf (List.ofSeq model.Values))
            Expect.isOk (verify block) "verified"
            Expect.equal (entriesOf block) (List.ofSeq model.Values) "entries")

        property "finds exactly its keys" (fun (first: Write) (rest: Write list) (others: Key list) ->
            let model = blockModel first rest
            let block = store (contentOf (List.ofSeq model.Values))

            for key in Seq.append (Seq.map keyBytes model.Keys) (Seq.map (fun (Key key) -> key) others) do
                let found =
                    match Block.tryFind block 0 block.Length (span key) (KeyHash.compute (span key)) with
                    | ValueSome entry -> Some(entry.Bytes.ToArray())
                    | ValueNone -> None

                Expect.equal found (Map.tryFind (modelKey key) model) "found")

        property "is walked from any key" (fun (first: Write) (rest: Write list) (Key from) ->
            let model = blockModel first rest
            let block = store (contentOf (List.ofSeq model.Values))
            let cursor = BlockCursor()
            Expect.isFalse (cursor.MoveNext()) "nothing before a block is opened"
            cursor.Open(block, 0, block.Length)
            cursor.Seek(span from)

            let walked = [
                while cursor.MoveNext() do
                    let entry = cursor.Current
                    entry.Bytes.ToArray()
            ]

            let expected = model |> Map.filter (fun key _ -> String.CompareOrdinal(key, modelKey from) >= 0)
            Expect.equal walked (List.ofSeq expected.Values) "entries from the key on")

        property
            "content that was changed under a right checksum is refused or read, never thrown at"
            (fun (first: Write) (rest: Write list) (at: int) (value: byte) (cut: byte) ->
                let content = contentOf (List.ofSeq (blockModel first rest).Values)
                content[int (uint32 at % uint32 content.Length)] <- value
                let content = Array.truncate (content.Length - int cut % content.Length) content
                let block = store content

                match verify block with
                | Ok() -> Expect.isNonEmpty (entriesOf block) "what is believed can be read"
                | Error corruption -> Expect.equal corruption.OffsetBytes 4096L "the place")

        test "structures that cannot be are refused" {
            let a, b = small 1UL "a", small 2UL "b"
            let whole = contentOf [ a; b ]
            Expect.isOk (verify (store whole)) "the block that is whole"
            refused "no content" [||]
            refused "no entries" [| 0uy; 0uy |]
            refused "more entries than bytes" (Array.append a [| 255uy; 255uy |])
            refused "descending keys" (contentOf [ b; a ])
            refused "a key twice" (contentOf [ a; a ])
            let flush = Array.copy a
            flush[6] <- byte EntryKind.FlushAll
            refused "a flush" (contentOf [ flush ])
            let gap = Array.copy whole
            gap[a.Length + b.Length + 3] <- byte (a.Length + 1)
            refused "entries that do not follow each other" gap
            refused "bytes between entries and offsets" (Array.concat [ a; [| 9uy |]; [| 0uy; 0uy; 0uy; 1uy |] ])
        }

        test "an unknown stored type is named" {
            let block = store (contentOf [ small 1UL "a" ])
            block[block.Length - 5] <- 9uy

            Coding.writeU32
                (Span<byte> block)
                (block.Length - 4)
                (Checksum.compute (ReadOnlySpan<byte>(block, 0, block.Length - 4)))

            match verify block with
            | Error corruption -> Expect.stringContains corruption.Reason "stored type 9" "the type"
            | Ok() -> failtest "was believed"
        }
    ]
