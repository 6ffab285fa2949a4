using System.Text.Json;

namespace MLNetMultimodal.Models.Hub;

/// <summary>A file of a repository.</summary>
/// <param name="Size">Its bytes; null where the server does not say.</param>
/// <param name="BlobId">Git's hash of it, or of the pointer that stands for it.</param>
/// <param name="Sha256">Hash of the content where it is stored outside of git.</param>
sealed record ListedFile(long? Size, string? BlobId, string? Sha256);

/// <summary>The files of a commit, from the server's answer or from the cache's folder <c>trees</c>. Both are
/// untrusted.</summary>
sealed record RepositoryListing(string Commit, SortedDictionary<string, ListedFile> Files)
{
    /// <summary>Largest answer that is read.</summary>
    public const int MaxBytes = 32 << 20;

    const int MaxDepth = 64, MaxFiles = 100_000, TreeVersion = 1;

    /// <summary>Reads the answer to <c>api/models/…/revision/…</c>.</summary>
    /// <exception cref="InvalidDataException">It is no such answer, or a name leaves the folder.</exception>
    public static RepositoryListing Parse(ReadOnlyMemory<byte> json, string repository)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new() { MaxDepth = MaxDepth });
            JsonElement root = document.RootElement;
            string commit = root.GetProperty("sha").GetString() ?? "";
            if (!HubCache.IsCommit(commit)) throw new FormatException("sha is no commit");
            JsonElement siblings = root.GetProperty("siblings");
            if (siblings.GetArrayLength() > MaxFiles) throw new FormatException($"it has more than {MaxFiles} files");
            var files = new SortedDictionary<string, ListedFile>(StringComparer.Ordinal);
            foreach (JsonElement sibling in siblings.EnumerateArray())
            {
                string name = sibling.GetProperty("rfilename").GetString() ?? "";
                if (RepositoryPath.Escape(name) is { } reason) throw RepositoryPath.Refuse(repository, name, reason);
                bool isLarge = sibling.TryGetProperty("lfs", out JsonElement lfs) && lfs.ValueKind == JsonValueKind.Object;
                files[name] = new(Number(sibling, "size"), Text(sibling, "blobId"), isLarge ? Text(lfs, "sha256") : null);
            }
            return new(commit, files);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"the hub's list of the files of '{repository}' cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads a listing that Python or <see cref="ToTree"/> wrote into the cache; null where it is none.</summary>
    public static RepositoryListing? TryReadTree(ReadOnlyMemory<byte> json, string commit)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new() { MaxDepth = MaxDepth });
            JsonElement root = document.RootElement;
            if (root.GetProperty("format_version").GetInt32() != TreeVersion) return null;
            var files = new SortedDictionary<string, ListedFile>(StringComparer.Ordinal);
            foreach (JsonProperty file in root.GetProperty("files").EnumerateObject())
                files[file.Name] = new(Number(file.Value, "size"), Text(file.Value, "blob_id"), Text(file.Value, "lfs_sha256"));
            return files.Keys.All(name => RepositoryPath.Escape(name) is null) ? new(commit, files) : null;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    /// <summary>The listing as Python keeps it; null where the server left out what Python wants to have.</summary>
    public byte[]? ToTree()
    {
        if (Files.Values.Any(f => f.Size is null || f.BlobId is null)) return null;
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            writer.WriteStartObject();
            writer.WriteNumber("format_version", TreeVersion);
            writer.WriteStartObject("files");
            foreach (var (name, file) in Files)
            {
                writer.WriteStartObject(name);
                writer.WriteNumber("size", file.Size!.Value);
                writer.WriteString("blob_id", file.BlobId);
                if (file.Sha256 is not null)
                {
                    writer.WriteString("lfs_sha256", file.Sha256);
                    writer.WriteNumber("lfs_size", file.Size.Value);
                }
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        return stream.ToArray();
    }

    static string? Text(JsonElement e, string field) =>
        e.TryGetProperty(field, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    static long? Number(JsonElement e, string field) =>
        e.TryGetProperty(field, out JsonElement value) && value.ValueKind == JsonValueKind.Number
            && value.TryGetInt64(out long number) ? number : null;
}
