using System.CommandLine;
using System.CommandLine.Parsing;
using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Rows of pictures with texts, labels or both.</summary>
/// <param name="View">The rows.</param>
/// <param name="Image">Column of the pictures.</param>
/// <param name="Label">Column that says which rows belong together: a class; null where the data has none.</param>
/// <param name="ClassText">Column of the class names; null where pictures have captions of their own.</param>
sealed record PictureData(IDataView View, string Image, string? Label, string? ClassText)
{
    /// <summary>Column of the captions.</summary>
    public const string Caption = "Caption";

    /// <summary>The classes: those of the key, or the distinct texts in ordinal order.</summary>
    public IReadOnlyList<string> Labels()
    {
        if (Label is null) return [];
        if (ClassText is null) return [.. View.GetColumn<string>(Label).Distinct().Order(StringComparer.Ordinal)];
        VBuffer<ReadOnlyMemory<char>> names = default;
        View.Schema[Label].GetKeyValues(ref names);
        return [.. names.DenseValues().Select(n => n.ToString())];
    }
}

/// <summary>Options that say where rows come from: a folder with a folder of pictures per class, a manifest, or IDX.</summary>
sealed class DataOptions
{
    readonly Option<string?> _data = ToolOptions.Of<string?>("--data", "PATH",
        "A folder with one folder of pictures per class; a .csv, .tsv or .jsonl manifest; or, with --idx-labels, an IDX file.");

    readonly Option<string?> _idxImages =
        ToolOptions.Of<string?>("--idx-images", "F", "An IDX file of pictures, plain or gzipped, in place of --data.");
    readonly Option<string?> _idxLabels = ToolOptions.Of<string?>("--idx-labels", "F", "The IDX file of their classes.");
    readonly Option<string?> _classNames =
        ToolOptions.Of<string?>("--class-names", "a,b,c", "Names of the classes of an IDX file, separated by commas.");
    readonly Option<string> _imageField =
        ToolOptions.Defaulting("--image-field", "A manifest's field of the picture.", new ImageTextPairsOptions().ImageField);
    readonly Option<string> _captionField =
        ToolOptions.Defaulting("--caption-field", "A manifest's field of the caption.", new ImageTextPairsOptions().CaptionField);

    readonly Option<string?> _labelField =
        ToolOptions.Of<string?>("--label-field", "NAME", "A manifest's field of the class: rows of one class belong together.");

    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_data, _idxImages, _idxLabels, _classNames, _imageField, _captionField, _labelField])
            command.Add(option);
        command.Validators.Add(result =>
        {
            bool Given(Option option) => result.GetResult(option) is not null;
            if (Given(_data) == Given(_idxImages))
                result.AddError("Give the data: either --data, or --idx-images with --idx-labels.");
            else if (Given(_idxImages) && !Given(_idxLabels)) result.AddError("Give --idx-labels with --idx-images.");
            else if (Given(_classNames) && !Given(_idxLabels)) result.AddError("--class-names goes with --idx-labels only.");
        });
    }

    public bool IsIdxIn(CommandResult result) => result.GetResult(_idxLabels) is not null;

    /// <summary>The folder that the data lies in, which may hold prompts for it.</summary>
    public string Folder(ParseResult parsed)
    {
        string path = Path.GetFullPath(parsed.GetValue(_idxLabels) ?? parsed.GetRequiredValue(_data)!);
        return Directory.Exists(path) ? path : Path.GetDirectoryName(path)!;
    }

    /// <summary>The rows.</summary>
    /// <param name="ml">Its environment.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="captionTemplate">Caption of labelled pictures, with <c>{}</c> in place of the class.</param>
    public PictureData Load(MLContext ml, ParseResult parsed, string captionTemplate) => parsed.GetValue(_idxLabels) is { } labels
        ? LoadIdx(ml, parsed, parsed.GetValue(_idxImages) ?? parsed.GetRequiredValue(_data)!, labels, captionTemplate)
        : Load(ml, parsed, parsed.GetRequiredValue(_data)!, captionTemplate);

    /// <summary>The rows of other IDX files, with the same class names.</summary>
    public PictureData LoadIdx(MLContext ml, ParseResult parsed, string images, string labels, string captionTemplate)
    {
        string[]? names = parsed.GetValue(_classNames)?.Split(',', StringSplitOptions.TrimEntries);
        var options = new IdxOptions { ClassNames = names, CaptionTemplate = captionTemplate };
        return new(ml.Data.LoadIdx(images, labels, options), "Image", "Label", "LabelText");
    }

    /// <summary>The rows of another folder or manifest, with the same fields.</summary>
    public PictureData Load(MLContext ml, ParseResult parsed, string path, string captionTemplate)
    {
        if (Directory.Exists(path))
        {
            IDataView view = ml.Data.LoadImageFolder(path, new() { CaptionTemplate = captionTemplate });
            return new(view, "ImagePath", "Label", "LabelText");
        }
        string? label = parsed.GetValue(_labelField);
        var options = new ImageTextPairsOptions
        {
            ImageField = parsed.GetRequiredValue(_imageField),
            CaptionField = parsed.GetRequiredValue(_captionField),
            OtherFields = label is null ? [] : [label],
        };
        return new(ml.Data.LoadImageTextPairs(path, options), "ImagePath", label, null);
    }
}
