using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Metrics;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ZeroShotEvaluation.EvaluateZeroShot"/>.</summary>
public sealed record ZeroShotEvaluationOptions
{
    /// <summary>Column of the true class: text, or a key with text key values; default <c>Label</c>. Classes are compared by
    /// name, so keys may be numbered in any order.</summary>
    public string Label { get; init => field = Checked.Name(value); } = "Label";

    /// <summary>Column of scores, Vector&lt;Single&gt; whose slot names are the classes, as <c>ZeroShotClassify</c> makes it;
    /// default <c>Score</c>.</summary>
    public string Score { get; init => field = Checked.Name(value); } = "Score";
}

/// <summary>Adds the metric to <see cref="MultimodalCatalog"/>.</summary>
public static class ZeroShotEvaluation
{
    extension(MultimodalCatalog catalog)
    {
        /// <summary>How often the true class has the highest score. One pass over the data.</summary>
        /// <param name="data">Scored rows.</param>
        /// <param name="options">Columns; null for the defaults.</param>
        /// <exception cref="ArgumentException">A column is missing or of the wrong type, or the scores have no slot
        /// names.</exception>
        /// <exception cref="InvalidDataException">A label is none of the classes; the message names the row.</exception>
        public ZeroShotMetrics EvaluateZeroShot(IDataView data, ZeroShotEvaluationOptions? options = null)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            ArgumentNullException.ThrowIfNull(data);
            options ??= new();
            DataViewSchema.Column label = Columns.Find(data.Schema, options.Label),
                score = ColumnReader.Vector(data.Schema, options.Score);
            string[] labels = ColumnReader.Names(score, Columns.SlotNames)
                ?? throw new ArgumentException($"column '{score.Name}' has no slot names; they say which score belongs to which class.");
            var index = labels.Select((name, i) => (name, i)).ToDictionary(p => p.name, p => p.i, StringComparer.Ordinal);
            var counter = new ClassCounter(labels.Length);
            using DataViewRowCursor cursor = data.GetRowCursor([label, score]);
            Func<string?> labelOf = ColumnReader.Text(cursor, label);
            ValueGetter<VBuffer<float>> scoresOf = cursor.GetGetter<VBuffer<float>>(score);
            VBuffer<float> scores = default;
            var dense = new float[labels.Length];
            while (cursor.MoveNext())
            {
                scoresOf(ref scores);
                scores.CopyTo(dense);
                if (labelOf() is not { } name) counter.SkipUnlabelled();
                else if (index.TryGetValue(name, out int actual)) counter.Add(actual, dense);
                else
                    throw new InvalidDataException($"row {cursor.Position}: the label '{name}' is none of the classes {string.Join(", ", labels)}.");
            }
            return new(counter.Rows, counter.Unlabelled, counter.Missing, counter.Top1, counter.Top5, counter.MacroAccuracy,
                counter.Classes(labels), counter.Confusion, ColumnReader.Names(score, ZeroShotComputation.TemplatesAnnotation) ?? [],
                ColumnReader.Annotation(score, ZeroShotComputation.SourceAnnotation));
        }
    }
}

/// <summary>How well pictures, sounds or videos were classified into classes named in words.</summary>
/// <param name="Rows">Rows with a label.</param>
/// <param name="Unlabelled">Rows without a label, which count nowhere.</param>
/// <param name="Missing">Rows with a label whose scores are missing (NaN): they count as wrong in every number, and as no class's
/// prediction.</param>
/// <param name="Top1">Part of the rows whose true class has the highest score, 0 to 1; of equal scores the earlier class comes
/// first. NaN without rows.</param>
/// <param name="Top5">Part of the rows whose true class is among the five highest, 0 to 1.</param>
/// <param name="MacroAccuracy">Mean accuracy of the classes that have rows.</param>
/// <param name="Classes">Each class, in the order of the scores.</param>
/// <param name="Confusion">[true][predicted], rows in the order of <paramref name="Classes"/>.</param>
/// <param name="Templates">Templates of the prompts, <c>{}</c> in place of the class; empty where the scores do not say. A result
/// without its prompts says little.</param>
/// <param name="PromptSource">Where the prompts came from: a folder, or <c>options</c>; null where the scores do not say.</param>
public sealed record ZeroShotMetrics(long Rows, long Unlabelled, long Missing, double Top1, double Top5, double MacroAccuracy,
    IReadOnlyList<ClassMetrics> Classes, IReadOnlyList<IReadOnlyList<long>> Confusion, IReadOnlyList<string> Templates,
    string? PromptSource)
{
    internal static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        WriteIndented = true,
        NumberHandling = System.Text.Json.Serialization.JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    /// <summary>All numbers as JSON; NaN as the text "NaN".</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Json);

    /// <summary>A table of the classes under the overall numbers.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture,
            $"top-1 {Top1:P2}  top-5 {Top5:P2}  macro {MacroAccuracy:P2}  rows {Rows}  missing {Missing}\n");
        if (Templates.Count > 0)
            text.Append(CultureInfo.InvariantCulture,
                $"prompts ({PromptSource ?? "unknown source"}): {string.Join(" | ", Templates)}\n");
        ClassMetrics.AppendTable(text, Classes);
        return text.ToString();
    }
}
