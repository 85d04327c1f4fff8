module LsmFs.Engine.Tests.DumpTests

open System
open System.Text
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

/// Key, value, flags and expiry of an item.
type private Item = byte[] * byte[] * uint32 * uint32

let private itemOf (write: Write) : Item =
    write.WriteKey, ValueOption.defaultValue [||] write.WriteValue, write.WriteFlags, write.WriteExpirySeconds

let private dumpOf (items: Item list) : string =
    let buffer = ByteBuffer 256
    DumpFormat.appendFirst buffer

    for key, value, flags, expiry in items do
        let entry =
            encode 7UL {
                WriteKey = key
                WriteValue = ValueSome value
                WriteFlags = flags
                WriteExpirySeconds = expiry
                WriteCas = 0UL
                WriteMarks = EntryMarks.None
            }

        DumpFormat.appendItem buffer (entryOf entry)

    DumpFormat.appendLast buffer (int64 items.Length)
    Encoding.ASCII.GetString buffer.Written

/// The items of a dump, or why it is none.
let private read (dump: string) : Result<Item list, string> =
    let reader = DumpReader()

    let rec go (items: Item list) (lines: string list) =
        match lines with
        | []
        | [ "" ] ->
            match reader.Refusal with
            | ValueSome refusal -> Error refusal
            | ValueNone -> Ok(List.rev items)
        | line :: rest ->
            match reader.Read(span (Encoding.Latin1.GetBytes line)) with
            | Error refusal -> Error refusal
            | Ok DumpLine.Item ->
                go ((reader.Key.ToArray(), reader.Value.ToArray(), reader.Flags, reader.ExpirySeconds) :: items) rest
            | Ok _ -> go items rest

    go [] (List.ofArray (dump.Split '\n'))

let private refuses (lines: string list) (refusal: string) =
    match read (String.Join('\n', lines)) with
    | Error reason -> Expect.equal reason refusal $"{lines}"
    | Ok items -> failtest $"{lines} gave {items}"

[<Tests>]
let tests =
    testList "Dump" [
        property "what was dumped reads back"
        <| fun (writes: Write list) ->
            let items = List.map itemOf writes
            Expect.equal (read (dumpOf items)) (Ok items) "items"

        test "every byte in key and value, and the largest numbers" {
            let bytes = Array.init 256 byte
            let items = [ bytes, bytes, UInt32.MaxValue, UInt32.MaxValue; [| 0uy |], [||], 0u, 0u ]
            Expect.equal (read (dumpOf items)) (Ok items) "items"
        }

        test "the lines are as FORMATS.md shows them" {
            Expect.equal
                (dumpOf [ "user:1 b"B, "hello"B, 42u, 2_000_000_000u; "zero"B, [||], 0u, 0u ])
                "#lsmfs-dump 1\nuser:1%20b 42 2000000000 5 aGVsbG8=\nzero 0 0 0\n#end 2\n"
                "a dump"
        }

        test "a dump that was cut anywhere is refused" {
            let dump = dumpOf [ "a"B, "hello"B, 1u, 2u; "b"B, [||], 0u, 0u; "c"B, "x"B, 0u, 0u ]

            for length in 0 .. dump.Length - 2 do
                Expect.isError (read (dump.Substring(0, length))) $"{length} characters"
        }

        test "a line that is none is refused by its number" {
            let first = "#lsmfs-dump 1"
            refuses [ "#lsmfs-dump 2" ] "line 1: the first line of a dump is '#lsmfs-dump 1'"
            refuses [ "key 0 0 0" ] "line 1: the first line of a dump is '#lsmfs-dump 1'"
            refuses [ first ] "line 2: the dump ends without its last line: it was cut off"
            refuses [ first; "a 0 0 0"; "#end 2" ] "line 3: the dump had 2 items when it was written, and has 1"
            refuses [ first; "#end 0"; "a 0 0 0" ] "line 3: a line follows the last one"
            refuses [ first; "#end x" ] "line 2: this is not a line of a dump"
            let key = "line 2: the first field is not the text of a key"
            let long = String('k', EntryFormat.keyLengthMax + 1)

            for line in [ " 0 0 0"; "a%2 0 0 0"; "# 0 0 0"; "\tb 0 0 0"; $"{long} 0 0 0" ] do
                refuses [ first; line ] key

            for line in [ "a"; "a  0 0"; "a -1 0 0"; "a 4294967296 0 0"; "a 1x 0 0" ] do
                refuses [ first; line ] "line 2: the second field is not a number of flags"

            for line in [ "a 0"; "a 0 x 0"; "a 0 -1 0" ] do
                refuses [ first; line ] "line 2: the third field is not a time in seconds"

            for line in [ "a 0 0"; "a 0 0 x"; "a 0 0 1"; "a 0 0 0 "; "a 0 0 0\r" ] do
                refuses [ first; line ] "line 2: the fourth field is not the length of the value that follows"

            for text in [ ""; "aGVsbG8"; "aGVsbG8=="; "aGVsbG8= "; "aGVsbG8=\r"; "aGVs bG8="; "aGVsbGhl"; "aGVs" ] do
                refuses [ first; $"a 0 0 5 {text}" ] "line 2: the fifth field is not 5 bytes in base64"

            refuses [ first; "a 0 0 4294967295 aGVs" ] "line 2: the fifth field is not 4294967295 bytes in base64"
        }
    ]
