using Microsoft.ML.Data;

namespace SpokenDigits;

/// <summary>What the speakers are told apart by.</summary>
sealed class Recording
{
    [ColumnName("speaker")]
    public string Speaker { get; set; } = "";
}
