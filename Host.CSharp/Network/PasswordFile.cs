using System.Security.Cryptography;
using LsmFs.Engine;
using Microsoft.Extensions.Logging;

namespace LsmFs.Host;

/// <summary>
/// The users who may authenticate, from a file with a line <c>user:password</c> for each. Held as digests, so that a comparison takes as
/// long whatever the password is like, its length included.
/// </summary>
public sealed class PasswordFile
{
    // A digest of the user and one of the password, end to end.
    private const int DigestLength = 2 * SHA256.HashSizeInBytes;

    private readonly ILogger _logger;
    private byte[][] _digests;

    /// <summary>Reads a file. A line of the log says when lines of it do not count.</summary>
    /// <exception cref="UnusableFileException">The file cannot be read or is malformed.</exception>
    public PasswordFile(string path, ILogger logger)
    {
        FilePath = path;
        _logger = logger;
        _digests = Read();
    }

    /// <summary>The file, as the operator named it.</summary>
    public string FilePath { get; }

    /// <summary>
    /// Reads the file again. One that cannot be used changes nothing; a line of the log tells either. Who has authenticated stays so. Any thread.
    /// </summary>
    public void Reload()
    {
        try
        {
            byte[][] digests = Read();
            Volatile.Write(ref _digests, digests);
            _logger.LogInformation("Passwords were read again from {Path}: {Count} users", FilePath, digests.Length);
        }
        catch (UnusableFileException exception)
        {
            _logger.LogWarning("The passwords stay as they were: {Reason}", exception.Message);
        }
    }

    /// <summary>Whether there is this user with this password. Looks at every user, and takes no longer for one that is nearly right.</summary>
    internal bool Contains(ReadOnlySpan<byte> user, ReadOnlySpan<byte> password)
    {
        Span<byte> digest = stackalloc byte[DigestLength];
        WriteDigest(user, password, digest);
        bool isKnown = false;

        foreach (byte[] known in Volatile.Read(ref _digests))
        {
            isKnown |= CryptographicOperations.FixedTimeEquals(digest, known);
        }

        return isKnown;
    }

    private static void WriteDigest(ReadOnlySpan<byte> user, ReadOnlySpan<byte> password, Span<byte> digest)
    {
        SHA256.HashData(user, digest);
        SHA256.HashData(password, digest[SHA256.HashSizeInBytes..]);
    }

    private byte[][] Read()
    {
        byte[] bytes;

        try
        {
            bytes = File.ReadAllBytes(FilePath);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException($"cannot read the file of passwords {FilePath}: {exception.Message}", exception);
        }

        var read = Authentication.readFile(bytes);

        if (read.IsError)
        {
            throw new UnusableFileException($"the file of passwords {FilePath} is malformed: {read.ErrorValue}");
        }

        if (read.ResultValue.IgnoredCount > 0)
        {
            _logger.LogWarning(
                "{Count} lines of {Path} do not count: a file of passwords has at most {Most} users",
                read.ResultValue.IgnoredCount,
                FilePath,
                Authentication.credentialCountMax);
        }

        return Array.ConvertAll(read.ResultValue.Credentials, credential =>
        {
            byte[] digest = new byte[DigestLength];
            WriteDigest(credential.User, credential.Password, digest);
            return digest;
        });
    }
}
