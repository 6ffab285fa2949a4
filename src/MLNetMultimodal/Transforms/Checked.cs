using System.Runtime.CompilerServices;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal;

/// <summary>Values of options; a message names the property that asks.</summary>
static class Checked
{
    /// <exception cref="ArgumentException">A column's name is empty.</exception>
    public static string Name(string value, [CallerMemberName] string option = "") => !string.IsNullOrWhiteSpace(value) ? value
        : throw new ArgumentException($"{option} is a column name and must not be empty.", option);

    /// <inheritdoc cref="Name"/>
    public static string? NameOrNull(string? value, [CallerMemberName] string option = "") => value is null ? null : Name(value, option);

    /// <exception cref="ArgumentOutOfRangeException">There are no so many samples per second.</exception>
    public static int Rate(int value, [CallerMemberName] string option = "") => value is >= 1 and <= AudioReader.MaxSampleRateHz ? value
        : throw new ArgumentOutOfRangeException(option, value, $"{option} must be 1 to {AudioReader.MaxSampleRateHz}.");

    /// <inheritdoc cref="Rate"/>
    public static int? RateOrNull(int? value, [CallerMemberName] string option = "") => value is { } rate ? Rate(rate, option) : null;

    /// <exception cref="ArgumentOutOfRangeException">It is not 1 to 1024 rows.</exception>
    public static int Batch(int value, [CallerMemberName] string option = "") => value is >= 1 and <= 1024 ? value
        : throw new ArgumentOutOfRangeException(option, value, $"{option} must be 1 to 1024.");

    /// <exception cref="ArgumentOutOfRangeException">It is below 0.</exception>
    public static int AtLeastZero(int value, [CallerMemberName] string option = "") => value >= 0 ? value
        : throw new ArgumentOutOfRangeException(option, value, $"{option} must be at least 0.");
}
