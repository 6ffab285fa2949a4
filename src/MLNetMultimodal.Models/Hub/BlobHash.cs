using System.Security.Cryptography;
using System.Text;

namespace MLNetMultimodal.Models.Hub;

/// <summary>The hub names a content by its hash: SHA-256 where it is stored outside of git, else git's own, which is SHA-1 over
/// the length and the bytes.</summary>
static class BlobHash
{
    const int GitLength = 40, Sha256Length = 64, BufferBytes = 1 << 20;

    /// <summary>True where the text is a hash of either kind, and so safe as the name of a file.</summary>
    public static bool IsHash(string etag) => etag.Length is GitLength or Sha256Length && etag.All(char.IsAsciiHexDigitLower);

    /// <summary>The hash of a file, of the kind that <paramref name="etag"/> is.</summary>
    public static async Task<string> OfAsync(string path, string etag, CancellationToken cancellation)
    {
        bool isGit = etag.Length == GitLength;
        using var hash = IncrementalHash.CreateHash(isGit ? HashAlgorithmName.SHA1 : HashAlgorithmName.SHA256);
        await using var file = new FileStream(path, new FileStreamOptions
        {
            BufferSize = 0,
            Options = FileOptions.SequentialScan | FileOptions.Asynchronous,
        });
        if (isGit) hash.AppendData(Encoding.ASCII.GetBytes(FormattableString.Invariant($"blob {file.Length}\0")));
        var buffer = new byte[BufferBytes];
        int read;
        while ((read = await file.ReadAsync(buffer, cancellation).ConfigureAwait(false)) > 0) hash.AppendData(buffer, 0, read);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
