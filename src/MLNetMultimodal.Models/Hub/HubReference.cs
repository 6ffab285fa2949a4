namespace MLNetMultimodal.Models.Hub;

/// <summary>A repository of the hub and a revision of it, checked.</summary>
/// <param name="Repository"><c>owner/name</c>, or <c>name</c> alone.</param>
/// <param name="Revision">A branch, a tag or a commit; null for <c>main</c>.</param>
readonly record struct HubReference(string Repository, string? Revision)
{
    const int MaxNameLength = 96, MaxRevisionLength = 255;

    /// <summary>Reads <c>owner/name</c> or <c>owner/name@revision</c>, with or without <c>hub:</c> before it.</summary>
    /// <exception cref="ArgumentException">It is no such name.</exception>
    public static HubReference Parse(string text)
    {
        string name = text.StartsWith(ModelHub.Scheme, StringComparison.Ordinal) ? text[ModelHub.Scheme.Length..] : text;
        int at = name.IndexOf('@');
        string repository = at < 0 ? name : name[..at];
        string? revision = at < 0 ? null : name[(at + 1)..];
        string[] parts = repository.Split('/');
        if (parts.Length > 2 || !parts.All(IsName) || repository.Contains("--", StringComparison.Ordinal))
            throw new ArgumentException($"'{text}' names no repository; wanted is owner/name or owner/name@revision, of letters, "
                + "digits, '-', '_' and '.'.");
        return new(repository, CheckRevision(revision));
    }

    /// <exception cref="ArgumentException">It cannot be a revision.</exception>
    public static string? CheckRevision(string? revision) =>
        revision is null || (revision.Length <= MaxRevisionLength && RepositoryPath.Objection(revision) is null) ? revision
            : throw new ArgumentException(
                $"'{revision}' names no revision; wanted is a branch, a tag or a commit.", nameof(revision));

    static bool IsName(string part) =>
        part.Length is >= 1 and <= MaxNameLength && part.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
        && part[0] is not ('-' or '.') && part[^1] is not ('-' or '.')
        && !part.Contains("..", StringComparison.Ordinal) && !part.EndsWith(".git", StringComparison.Ordinal);
}
