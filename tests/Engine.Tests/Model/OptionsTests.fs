module LsmFs.Engine.Tests.OptionsTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

[<Tests>]
let tests =
    testList "Options" [
        property "the sizes of any budget fit into it, and each other" (fun (more: uint32) ->
            let budget = Options.memoryBudgetBytesMin + (int64 more <<< 8)
            let options = Options.ofBudget budget
            let memtables = int64 (1 + options.FrozenMemtableCountMax) * options.MemtableSizeBytes
            Expect.isLessThanOrEqual (memtables + options.CacheSizeBytes) budget "memtables and cache"
            Expect.isGreaterThan options.CacheSizeBytes 0L "a cache"
            Expect.isLessThan options.LevelZeroTableCountTrigger options.LevelZeroTableCountMax "level 0"
            Expect.isGreaterThanOrEqual options.LevelOneSizeBytes options.TableSizeBytes "level 1"

            Expect.isGreaterThanOrEqual
                (Options.recycledBytesMax options)
                (int64 options.FrozenMemtableCountMax * options.MemtableSizeBytes)
                "what is kept of flushed memtables")

        property "what the cache may take falls with the metadata of tables, to an eighth of it" (fun (table: uint32) ->
            let options = Options.ofBudget (64L <<< 20)
            let size = Options.cacheSizeBytes options (int64 table)
            let more = Options.cacheSizeBytes options (int64 table + 1000L)
            Expect.isLessThanOrEqual more size "more metadata, less cache"
            Expect.isGreaterThanOrEqual size (options.CacheSizeBytes / 8L) "never less"
            Expect.isLessThanOrEqual size options.CacheSizeBytes "never more")

        test "another compression changes nothing else" {
            let options = Options.ofBudget (64L <<< 20)
            let changed = Options.withCompression Compression.Zstd options
            Expect.equal changed.Compression Compression.Zstd "it is another one"
            Expect.equal (Options.withCompression options.Compression changed) options "and back"
        }
    ]
