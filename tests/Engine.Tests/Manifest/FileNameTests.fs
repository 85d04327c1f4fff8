module LsmFs.Engine.Tests.FileNameTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

[<Tests>]
let tests =
    testList "FileName" [
        property "names are read back" (fun (number: uint64) ->
            [ StoreFile.Log; StoreFile.Table; StoreFile.Manifest; StoreFile.Decisions ]
            |> List.map (fun kind -> kind (FileNumber number))
            |> List.append [
                StoreFile.Current
                StoreFile.Lock
                StoreFile.Temporary
                StoreFile.Backup
                StoreFile.Reserve
            ]
            |> List.forall (fun file -> FileName.tryParse (FileName.ofFile file) = Some file))

        testCase "names of other files are not the store's" (fun () ->
            for name in
                [
                    ""
                    "7.wal"
                    "0000007.wal"
                    "000007.wal~"
                    "a.sst"
                    "-00001.sst"
                    "MANIFEST-"
                    "MANIFEST-1"
                    "current"
                    ".sst"
                ] do
                Expect.isNone (FileName.tryParse name) name)

        testCase "the names of the design" (fun () ->
            Expect.equal (FileName.ofFile (StoreFile.Log(FileNumber 7UL))) "000007.wal" "a log"

            Expect.equal
                (FileName.ofFile (StoreFile.Table(FileNumber 1234567UL)))
                "1234567.sst"
                "a table past six digits"

            Expect.equal (FileName.ofFile (StoreFile.Manifest(FileNumber 3UL))) "MANIFEST-000003" "a manifest")
    ]
