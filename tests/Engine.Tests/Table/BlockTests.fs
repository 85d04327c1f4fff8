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

/// What is wrong with content.
let private faultOf (content: byte[]) : string option = Block.findFault content 0 content.Length |> ValueOption.toOption

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
    match faultOf content with
    | None -> failtest $"%s{what} was not refused"
    | Some fault -> Expect.isNotEmpty fault "there is a reason"

let private small (sequence: uint64) (key: string) : byte[] =
    encode sequence {
        WriteKey = keyBytes key
        WriteValue = ValueSome "value"B
        WriteFlags = 0u
        WriteExpirySeconds = 0u
        WriteCas = 0UL
        WriteMarks = EntryMarks.None
    }

[<Tests>]
let tests =
    testList "Block" [
        property "is read back whole" (fun (first: Write) (rest: Write list) ->
            let model = blockModel first rest
            let block = contentOf (List.ofSeq model.Values)
            Expect.isNone (faultOf block) "nothing is wrong"
            Expect.equal (entriesOf block) (List.ofSeq model.Values) "entries")

        property "finds exactly its keys" (fun (first: Write) (rest: Write list) (others: Key list) ->
            let model = blockModel first rest
            let block = contentOf (List.ofSeq model.Values)

            for key in Seq.append (Seq.map keyBytes model.Keys) (Seq.map (fun (Key key) -> key) others) do
                let found =
                    match Block.tryFind block 0 block.Length (span key) (KeyHash.compute (span key)) with
                    | ValueSome entry -> Some(entry.Bytes.ToArray())
                    | ValueNone -> None

                Expect.equal found (Map.tryFind (modelKey key) model) "found")

        property "is walked from any key" (fun (first: Write) (rest: Write list) (Key from) ->
            let model = blockModel first rest
            let block = contentOf (List.ofSeq model.Values)
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

                if Option.isNone (faultOf content) then
                    Expect.isNonEmpty (entriesOf content) "what is believed can be read")

        test "structures that cannot be are refused" {
            let a, b = small 1UL "a", small 2UL "b"
            let whole = contentOf [ a; b ]
            Expect.isNone (faultOf whole) "the block that is whole"
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
    ]
