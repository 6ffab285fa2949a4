namespace MLNetMultimodal.ModelBuilder;

/// <summary>The command line makes no sense, in a way that shows only after it was parsed.</summary>
sealed class WrongUsageException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Makes something from values of the command line: what it has to say against them is wrong usage.</summary>
    public static T Check<T>(Func<T> make)
    {
        try
        {
            return make();
        }
        catch (ArgumentException e)
        {
            throw new WrongUsageException(ErrorText.Of(e), e);
        }
    }
}

/// <summary>Errors as one line for people.</summary>
static class ErrorText
{
    public static string Of(Exception e)
    {
        while (e is AggregateException or TypeInitializationException && e.InnerException is { } inner) e = inner;
        string text = e.Message;
        if (e is ArgumentException argument)
        {
            int library = text.IndexOf($" (Parameter '{argument.ParamName}')", StringComparison.Ordinal);
            if (library > 0) text = text[..library];
        }
        text = string.Join(' ', text.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        bool expected = e is ArgumentException or IOException or InvalidDataException or InvalidOperationException
            or NotSupportedException or UnauthorizedAccessException or WrongUsageException;
        return expected ? text : $"{e.GetType().Name}: {text}";
    }
}
