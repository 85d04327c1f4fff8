module LsmFs.Engine.Tests.MemtableCursorTests

open System
open Expecto
open FsCheck
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.MemtableModel

/// The versions after each committed batch, oldest first, one line without forks.
let private playLine (History batches) : Versioned list =
    let start = { Memtable = Memtable.Create(smallPool ()); Model = Map.empty }

    batches
    |> List.scan
        (fun version batch ->
            let editor = version.Memtable.Edit()
            let model = putAll editor version.Memtable.LastSequence version.Model batch.Puts

            { Memtable = editor.Commit(); Model = model })
        start

[<Tests>]
let tests =
    testList "MemtableCursor" [
        memtableProperty
            60
            "invariants 1 and 2: seeking shows the entries from the key on, in any order of seeks"
            (fun history (keys: Key list) ->
                for version in playLine history do
                    let cursor = MemtableCursor version.Memtable
                    let present = version.Model |> Map.toList |> List.map (fst >> Convert.FromHexString)
                    // Keys that are there, keys right after them, and any.
                    let sample =
                        present |> List.indexed |> List.filter (fun (index, _) -> index % 97 = 0) |> List.map snd

                    let wanted =
                        sample
                        @ List.map (fun key -> Array.append key [| 0uy |]) sample
                        @ [ for Key key in keys -> key ]
                        @ [ [||] ]

                    for key in wanted do
                        cursor.Seek(span key)

                        let shown = [
                            for _ in 1..70 do
                                if cursor.MoveNext() then
                                    cursor.Current.Bytes.ToArray()
                        ]

                        let expected =
                            version.Model
                            |> Map.toSeq
                            |> Seq.filter (fun (other, _) -> String.CompareOrdinal(other, hex key) >= 0)
                            |> Seq.map snd
                            |> Seq.truncate 70
                            |> List.ofSeq

                        Expect.isTrue ((shown = expected)) $"from %s{hex key}"

                    cursor.SeekFirst()
                    Expect.isTrue ((remaining cursor = List.map snd (Map.toList version.Model))) "from the first")

        memtableProperty
            60
            "keys are counted once each, and projected from a part of the leaves"
            (fun history (PositiveInt part) ->
                for version in playLine history do
                    let keys = version.Model |> Map.toArray |> Array.map (fst >> Convert.FromHexString)
                    let whole = MemtableKeys.look version.Memtable Int32.MaxValue
                    Expect.equal whole.Count (int64 keys.Length) "every leaf"
                    let some = MemtableKeys.look version.Memtable part
                    Expect.equal some.Sample.Length (min part whole.Sample.Length) "as many leaves as asked for"
                    let sample = some.Sample |> Array.map hex
                    Expect.isTrue (sample |> Array.forall version.Model.ContainsKey) "keys that are there"
                    Expect.equal sample (sample |> Array.distinct |> Array.sort) "in order"
                    // A leaf has up to 64 keys.
                    Expect.isLessThanOrEqual some.Count (64L * int64 whole.Sample.Length) "within what leaves hold")

        memtableProperty 30 "a cursor shows its version while others are written" (fun history (batch: Batch) ->
            let version = List.last (playLine history)
            let cursor = MemtableCursor version.Memtable

            let first = [
                for _ in 1..10 do
                    if cursor.MoveNext() then
                        cursor.Current.Bytes.ToArray()
            ]

            let editor = version.Memtable.Edit()
            putAll editor version.Memtable.LastSequence version.Model batch.Puts |> ignore
            editor.Commit() |> ignore
            Expect.isTrue ((first @ remaining cursor = List.map snd (Map.toList version.Model))) "all of the version")

        test "a cursor is at no entry before the first and after the last" {
            let empty = Memtable.Create(smallPool ())

            let noEntry (cursor: MemtableCursor) =
                Expect.throwsT<InvalidOperationException> (fun () -> cursor.Current |> ignore) "no entry"

            let cursor = MemtableCursor empty
            noEntry cursor
            Expect.isFalse (cursor.MoveNext()) "nothing"
            cursor.Seek(span "a"B)
            Expect.isFalse (cursor.MoveNext()) "nothing after a seek"
            noEntry cursor
            let editor = empty.Edit()

            putAll editor SequenceNumber.zero Map.empty [
                {
                    WriteKey = "a"B
                    WriteValue = ValueNone
                    WriteFlags = 0u
                    WriteExpirySeconds = 0u
                    WriteCas = 0UL
                    WriteMarks = EntryMarks.None
                }
            ]
            |> ignore

            let cursor = MemtableCursor(editor.Commit())
            noEntry cursor
            Expect.isTrue (cursor.MoveNext()) "a tombstone is shown"
            Expect.equal cursor.Current.Kind EntryKind.Tombstone "as one"
            Expect.isFalse (cursor.MoveNext()) "the end"
            Expect.isFalse (cursor.MoveNext()) "still the end"
            noEntry cursor
            cursor.Seek(span "b"B)
            Expect.isFalse (cursor.MoveNext()) "past the end"
            cursor.Seek(span "a"B)
            noEntry cursor
            Expect.isTrue (cursor.MoveNext()) "and back"
        }
    ]
