using System.Runtime.InteropServices;

namespace LsmFs.Embedded;

/// <summary>
/// The part of RocksDB's C interface (rocksdb/c.h) that the harness uses, called directly: the package's own wrapper goes through delegates and
/// allocates a value for each get.
/// </summary>
internal static unsafe partial class RocksDb
{
    private const string Library = "rocksdb";

    /// <summary>Whether the native library is there for this platform.</summary>
    public static bool IsThere => NativeLibrary.TryLoad(Library, typeof(RocksDb).Assembly, null, out _);

    [LibraryImport(Library)]
    public static partial nint rocksdb_options_create();

    [LibraryImport(Library)]
    public static partial void rocksdb_options_destroy(nint options);

    [LibraryImport(Library)]
    public static partial void rocksdb_options_enable_statistics(nint options);

    [LibraryImport(Library)]
    public static partial void rocksdb_options_set_statistics_level(nint options, int level);

    [LibraryImport(Library)]
    public static partial nint rocksdb_options_statistics_get_string(nint options);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial void rocksdb_get_options_from_string(nint baseOptions, string text, nint options, out nint error);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint rocksdb_open(nint options, string path, out nint error);

    [LibraryImport(Library)]
    public static partial void rocksdb_close(nint database);

    [LibraryImport(Library)]
    public static partial void rocksdb_free(nint memory);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int rocksdb_property_int(nint database, string name, out ulong value);

    [LibraryImport(Library)]
    public static partial nint rocksdb_get_default_column_family_handle(nint database);

    [LibraryImport(Library)]
    public static partial nint rocksdb_writeoptions_create();

    [LibraryImport(Library)]
    public static partial void rocksdb_writeoptions_set_sync(nint options, byte isSynced);

    [LibraryImport(Library)]
    public static partial void rocksdb_writeoptions_destroy(nint options);

    [LibraryImport(Library)]
    public static partial nint rocksdb_readoptions_create();

    [LibraryImport(Library)]
    public static partial void rocksdb_readoptions_destroy(nint options);

    [LibraryImport(Library)]
    public static partial nint rocksdb_writebatch_create();

    [LibraryImport(Library)]
    public static partial void rocksdb_writebatch_destroy(nint batch);

    [LibraryImport(Library)]
    public static partial void rocksdb_writebatch_clear(nint batch);

    [LibraryImport(Library)]
    public static partial void rocksdb_writebatch_put(nint batch, byte* key, nuint keyLength, byte* value, nuint valueLength);

    [LibraryImport(Library)]
    public static partial void rocksdb_writebatch_delete(nint batch, byte* key, nuint keyLength);

    [LibraryImport(Library)]
    public static partial void rocksdb_write(nint database, nint options, nint batch, out nint error);

    [LibraryImport(Library)]
    public static partial void rocksdb_delete_range_cf(
        nint database, nint options, nint columnFamily, byte* start, nuint startLength, byte* end, nuint endLength, out nint error);

    [LibraryImport(Library)]
    public static partial byte rocksdb_get_into_buffer(
        nint database, nint options, byte* key, nuint keyLength, byte* buffer, nuint bufferLength, out nuint valueLength, out byte isFound, out nint error);

    [LibraryImport(Library)]
    public static partial nint rocksdb_create_iterator(nint database, nint options);

    [LibraryImport(Library)]
    public static partial void rocksdb_iter_seek_to_first(nint iterator);

    [LibraryImport(Library)]
    public static partial void rocksdb_iter_seek(nint iterator, byte* key, nuint keyLength);

    [LibraryImport(Library)]
    public static partial byte rocksdb_iter_valid(nint iterator);

    [LibraryImport(Library)]
    public static partial void rocksdb_iter_next(nint iterator);

    [LibraryImport(Library)]
    public static partial byte* rocksdb_iter_key(nint iterator, out nuint length);

    [LibraryImport(Library)]
    public static partial byte* rocksdb_iter_value(nint iterator, out nuint length);

    [LibraryImport(Library)]
    public static partial void rocksdb_iter_get_error(nint iterator, out nint error);

    [LibraryImport(Library)]
    public static partial void rocksdb_iter_destroy(nint iterator);

    /// <summary>Throws what the library said went wrong.</summary>
    public static void Check(nint error)
    {
        if (error != 0)
        {
            throw new InvalidOperationException($"RocksDB: {TakeString(error)}");
        }
    }

    /// <summary>Copies a string of the library's and frees it.</summary>
    public static string TakeString(nint text)
    {
        var copy = Marshal.PtrToStringUTF8(text) ?? "";
        rocksdb_free(text);
        return copy;
    }
}
