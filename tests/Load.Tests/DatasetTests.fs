module LsmFs.Load.Tests.DatasetTests

open System
open System.Text
open Expecto
open LsmFs.Load

let key (dataset: Dataset) index =
    let bytes = Array.zeroCreate<byte> dataset.KeyLength
    dataset.WriteKey(index, bytes.AsSpan())
    Encoding.ASCII.GetString bytes

let value (dataset: Dataset) index =
    let bytes = Array.zeroCreate<byte>(dataset.ValueLength index)
    dataset.WriteValue(index, bytes.AsSpan())
    bytes

[<Tests>]
let tests =
    testList "Dataset" [
        test "a key is its number, zero-padded to the length" {
            for length in [ 5; 6; 11; 16; 250 ] do
                for index in [ 0u; 7u; 42u; 999u; 9999u ] do
                    let text = "k" + string(index).PadLeft(length - 1, '0')
                    Expect.equal (key (Dataset(10_000u, length, 1, 1, 1UL)) index) text $"key {index} of {length} bytes"
        }

        test "a length with too few digits for the keys is refused" {
            Expect.throwsT<LoadException> (fun () -> Dataset(1001u, 4, 1, 1, 1UL) |> ignore) "1001 keys in 3 digits"
            Dataset(1000u, 4, 1, 1, 1UL) |> ignore
        }

        testProperty
            "a value is itself, and no other key's, seed's or length's, and one changed byte is seen"
            (fun (index: uint16) (at: uint16) ->
                let dataset, other = Dataset(70_000u, 16, 9, 300, 1UL), Dataset(70_000u, 16, 9, 300, 2UL)
                let index = uint32 index
                let bytes = value dataset index
                Expect.isTrue (bytes.Length >= 9 && bytes.Length <= 300) "length in range"
                Expect.isTrue (dataset.IsValue(index, bytes)) "its own"
                Expect.isFalse (dataset.IsValue(index + 1u, bytes)) "another key's"
                Expect.isFalse (other.IsValue(index, bytes)) "another seed's"
                let position = int at % bytes.Length
                bytes[position] <- bytes[position] ^^^ 1uy
                Expect.isFalse (dataset.IsValue(index, bytes)) "changed")

        testProperty
            "a set command holds the key, flags, length and value that the reply line promises"
            (fun (index: uint16) ->
                let dataset = Dataset(70_000u, 12, 0, 40, 1UL)
                let index = uint32 index
                let set, line = Array.zeroCreate<byte> dataset.SetLengthMax, Array.zeroCreate<byte> 64
                let setLength = dataset.WriteSet(index, set.AsSpan())
                let mutable valueLength = 0
                let lineLength = dataset.WriteReplyLine(index, line.AsSpan(), &valueLength)
                let bytes = value dataset index
                let latin (bytes: byte[]) = Encoding.Latin1.GetString bytes
                let name, flags = key dataset index, Dataset.Flags index
                Expect.equal valueLength bytes.Length "length"

                Expect.equal
                    (latin set[.. setLength - 1])
                    $"set {name} {flags} 0 {bytes.Length}\r\n{latin bytes}\r\n"
                    "set"

                Expect.equal (latin line[.. lineLength - 1]) $"VALUE {name} {flags} {bytes.Length}\r\n" "reply line")
    ]
